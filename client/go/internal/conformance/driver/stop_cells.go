package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// A source is the stream of a cell's request, whatever its replies are.
type source struct {
	id    string
	close func() error
	// text reads the stream to its end; nil for a request with many results.
	text func() (string, error)
	// each gives every reply to a function, until that returns false, and returns the error of the end.
	each func(func() bool) error
}

// open sends a cell's request.
func open(ctx context.Context, model *mlxwire.Model, c *cell, options ...mlxwire.RequestOption) (*source, error) {
	switch c.Command {
	case "batch":
		return sourceOf(model.BatchStream(ctx, c.Prompts, options...))
	case "classify":
		return sourceOf(model.ClassifyStream(ctx, c.Prompts, options...))
	case "embed":
		return sourceOf(model.EmbedStream(ctx, mlxwire.Texts(c.Prompts...), options...))
	case "score":
		return sourceOf(model.ScoreStream(ctx, mlxwire.Texts(c.Prompts...), options...))
	}
	stream, err := openTokens(ctx, model, c, options...)
	if err != nil {
		return nil, err
	}
	return &source{id: stream.ID(), close: stream.Close, text: stream.Text, each: func(take func() bool) error {
		for _, err := range stream.Tokens() {
			if err != nil || !take() {
				return err
			}
		}
		return nil
	}}, nil
}

// sourceOf returns the stream of a request with many results.
func sourceOf[T any](stream *mlxwire.ItemStream[T], err error) (*source, error) {
	if err != nil {
		return nil, err
	}
	return &source{id: stream.ID(), close: stream.Close, each: func(take func() bool) error {
		for _, err := range stream.Results() {
			if err != nil || !take() {
				return err
			}
		}
		return nil
	}}, nil
}

func openTokens(ctx context.Context, model *mlxwire.Model, c *cell, options ...mlxwire.RequestOption) (*mlxwire.Stream, error) {
	if c.Command == "chat" {
		return model.ChatStream(ctx, mlxwire.UserTurn(c.Prompt), options...)
	}
	return model.GenerateStream(ctx, c.Prompt, options...)
}

// A consumer reads one request in a goroutine of its own, and stops after pause_after replies.
type consumer struct {
	cell   *cell
	model  *mlxwire.Model
	ctx    context.Context
	abort  context.CancelFunc
	source *source
	taken  int
	paused chan struct{}
	goOn   chan struct{}
	ended  chan error
}

func newConsumer(model *mlxwire.Model, c *cell) *consumer {
	ctx, abort := context.WithCancel(context.Background())
	return &consumer{
		cell: c, model: model, ctx: ctx, abort: abort,
		paused: make(chan struct{}), goOn: make(chan struct{}), ended: make(chan error, 1),
	}
}

// isCall returns true if one call sends the request and reads it to its end.
func (c *consumer) isCall() bool {
	return c.cell.Collect && len(c.cell.Prompts) > 0
}

// open sends the request, unless it is one call.
func (c *consumer) open() (err error) {
	if !c.isCall() && c.source == nil {
		c.source, err = open(c.ctx, c.model, c.cell)
	}
	return err
}

func (c *consumer) read() error {
	if c.isCall() {
		if c.cell.Command == "classify" {
			_, err := c.model.Classify(c.ctx, c.cell.Prompts)
			return err
		}
		_, err := c.model.BatchGenerate(c.ctx, c.cell.Prompts)
		return err
	}
	if err := c.open(); err != nil {
		return err
	}
	if c.cell.Collect {
		_, err := c.source.text()
		return err
	}
	return c.source.each(func() bool {
		c.taken++
		if c.taken == c.cell.PauseAfter {
			close(c.paused)
			if c.cell.Phase != "waiting" {
				<-c.goOn
			}
		}
		return true
	})
}

// stop cuts a request in one way, in one phase, and tells what its consumer gets.
func stop(c *cell) (answer, error) {
	var options []mlxwire.StartOption
	ready := make(chan struct{}, 16)
	if c.Cause == "restart" {
		options = append(options, mlxwire.WithRestart(quick()), mlxwire.WithOnEvent(func(event mlxwire.Event) {
			if event.Kind == mlxwire.EventReady {
				ready <- struct{}{}
			}
		}))
	}
	worker, model, err := begin(options...)
	if err != nil {
		return nil, err
	}
	defer worker.Close()
	reader := newConsumer(model, c)
	if c.Cause == "own_cancel" && reader.isCall() {
		return answer{"lacks": "BatchGenerate and Classify have no stream"}, nil
	}
	defer reader.abort()
	if c.Phase == "before" {
		if c.Cause == "own_cancel" { // a stream that does not exist can't be closed
			if err := reader.open(); err != nil {
				return nil, err
			}
		}
		if err := reader.cut(worker, ready); err != nil {
			return nil, err
		}
		err = reader.read()
	} else {
		go func() { reader.ended <- reader.read() }()
		err = reader.cutAmid(worker, ready)
	}
	told := outcomeOf(err)
	told["taken"] = reader.taken
	return told, nil
}

// cutAmid waits until the consumer is in the cell's phase, cuts it, and returns how it ended.
func (c *consumer) cutAmid(worker *mlxwire.Worker, ready chan struct{}) error {
	if c.cell.Collect {
		if c.cell.Phase == "finished" {
			err := <-c.ended
			c.ended <- err
		} else if err := inFlight(worker); err != nil {
			return err
		}
	} else {
		<-c.paused
	}
	received(worker)
	if err := c.cut(worker, ready); err != nil {
		return err
	}
	close(c.goOn)
	return <-c.ended
}

// inFlight waits until the worker has a request that it has not ended.
func inFlight(worker *mlxwire.Worker) error {
	for {
		metrics, err := worker.Metrics(context.Background())
		if err != nil || metrics.InFlight > 0 {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// cut stops the request from outside of its consumer.
func (c *consumer) cut(worker *mlxwire.Worker, ready chan struct{}) error {
	ctx := context.Background()
	var err error
	switch c.cell.Cause {
	case "own_cancel":
		err = c.source.close()
	case "signal":
		c.abort()
		return nil
	case "worker_cancel":
		var id string
		if c.source != nil {
			id = c.source.id
		}
		_, err = worker.CancelRequest(ctx, id)
	case "model_close":
		err = c.model.Close()
	case "worker_close":
		err = worker.Close()
	case "restart": // this client has no call for it: its policy starts a worker that has died again
		<-ready // after the load
		if err := kill(worker); err != nil {
			return err
		}
		<-ready
	case "sigkill":
		err = kill(worker)
	default:
		return fmt.Errorf("no cause is called %q", c.cell.Cause)
	}
	received(worker)
	return err
}

// kill ends the worker's process by SIGKILL, or by what the system has in its place.
func kill(worker *mlxwire.Worker) error {
	process, err := os.FindProcess(worker.PID())
	if err != nil {
		return err
	}
	return process.Kill()
}

// secondPass reads a stream to its end, or leaves it, and ranges over it again.
func secondPass(c *cell) (answer, error) {
	worker, model, err := begin()
	if err != nil {
		return nil, err
	}
	defer worker.Close()
	stream, err := open(context.Background(), model, c)
	if err != nil {
		return nil, err
	}
	taken := 0
	err = stream.each(func() bool {
		taken++
		if taken == 3 && c.End == "error" {
			_, _ = worker.CancelRequest(context.Background(), stream.id)
		}
		return c.End != "break"
	})
	if err != nil && !errors.Is(err, mlxwire.ErrCancelled) {
		return nil, err
	}
	replies := 0
	err = stream.each(func() bool { replies++; return true })
	switch {
	case err != nil:
		return answer{"second": "raises", "message": err.Error()}, nil
	case replies > 0:
		return answer{"second": "replies"}, nil
	}
	return answer{"second": "empty"}, nil
}

// read reads a request's replies, good or bad, beside another request in flight.
func read(c *cell) (answer, error) {
	half := 500 * time.Millisecond
	worker, model, err := begin(mlxwire.WithShutdownLimits(mlxwire.ShutdownLimits{
		Quit: half, CloseStdin: half, Terminate: 2 * time.Second, Kill: 2 * time.Second,
	}))
	if err != nil {
		return nil, err
	}
	defer worker.Close()
	var script string
	if err := json.Unmarshal(c.Beside, &script); err != nil {
		return nil, err
	}
	beside, err := model.GenerateStream(context.Background(), script)
	if err != nil {
		return nil, err
	}
	received(worker)
	taken, err := readToEnd(model, c)
	told := outcomeOf(err)
	told["taken"], told["beside"] = taken, nil
	if _, err := worker.Metrics(context.Background()); err != nil {
		_, err = beside.Text()
		told["beside"] = outcomeOf(err)["outcome"]
	}
	return told, nil
}

// readToEnd reads a cell's request and returns how many replies the consumer got.
func readToEnd(model *mlxwire.Model, c *cell) (taken int, err error) {
	var options []mlxwire.RequestOption
	if c.Stream {
		options = append(options, mlxwire.WithOnToken(func(mlxwire.Token) {}))
	}
	options = append(options, c.tools()...)
	stream, err := open(context.Background(), model, c, options...)
	if err == nil {
		err = stream.each(func() bool { taken++; return true })
	}
	return taken, err
}
