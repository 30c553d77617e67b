package main

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// A daemon is one worker with one model, and their state for /healthz.
type daemon struct {
	worker   *mlxwire.Worker
	model    *mlxwire.Model
	ready    atomic.Bool
	restarts atomic.Int64
}

func startDaemon(ctx context.Context, model string, options ...mlxwire.StartOption) (*daemon, error) {
	d := new(daemon)
	options = append(options,
		mlxwire.WithRestart(mlxwire.DefaultRestartPolicy()),
		mlxwire.WithOnEvent(d.note))
	var err error
	if d.worker, err = mlxwire.Start(ctx, options...); err != nil {
		return nil, err
	}
	if d.model, err = d.worker.Load(ctx, model); err != nil {
		return nil, errors.Join(err, d.worker.Close())
	}
	return d, nil
}

// note records the events that /healthz reports.
func (d *daemon) note(event mlxwire.Event) {
	switch event.Kind {
	case mlxwire.EventReady:
		d.ready.Store(true)
	case mlxwire.EventCrashed:
		d.ready.Store(false)
	case mlxwire.EventRestarting:
		d.restarts.Add(1)
	}
}

func (d *daemon) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /chat", d.chat)
	mux.HandleFunc("GET /healthz", d.health)
	return mux
}

func (d *daemon) close() error { return d.worker.Close() }

// health answers 200 while questions can be asked. Questions between two workers wait, so the answer
// is 200 then, too, with "ready": false. It is 503 once the worker was given up.
func (d *daemon) health(w http.ResponseWriter, _ *http.Request) {
	status := http.StatusOK
	if d.worker.Err() != nil {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, map[string]any{
		"ready": d.ready.Load(), "restarts": d.restarts.Load(), "pid": d.worker.PID(),
	})
}

// eventOf names the event of a token, so that clients do not show a thought as the answer.
func eventOf(token mlxwire.Token) string {
	if token.Channel == mlxwire.ChannelThinking {
		return "thought"
	}
	return "token"
}

// chat answers with the events `thought` and `token`, and one `done` or `error` at the end. A failure before the
// first event has an HTTP status of its own. The request's context ends when the client hangs up,
// which cancels in the worker.
func (d *daemon) chat(w http.ResponseWriter, r *http.Request) {
	asked, err := readQuestion(w, r)
	if err != nil {
		refuse(w, err)
		return
	}
	stream, err := d.model.ChatStream(r.Context(), asked.Messages, asked.options()...)
	if err != nil {
		refuse(w, err)
		return
	}
	events := newEventWriter(w)
	for token, err := range stream.Tokens() {
		switch {
		case err != nil && !events.begun:
			refuse(w, err)
			return
		case err != nil:
			events.send("error", describe(err))
			return
		case events.send(eventOf(token), map[string]any{"text": token.Text, "id": token.ID}) != nil:
			return // the client hung up; leaving the range cancels the request
		}
	}
	if done, ok := stream.Done(); ok {
		events.send("done", map[string]any{
			"finish_reason": done.FinishReason, "tokens": done.TokensGenerated,
			"tokens_per_second": done.Metrics.DecodeTokensPerSecond,
		})
	}
}
