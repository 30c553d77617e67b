package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// maxBodyBytes bounds a request, as a conversation is.
const maxBodyBytes = 1 << 20

// A daemon is one worker with one model, and how it is.
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

// note keeps what /healthz tells.
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

// health is 200 while questions can be asked. Between two workers they wait, so it is then too,
// with "ready": false; it is 503 once the worker was given up.
func (d *daemon) health(w http.ResponseWriter, _ *http.Request) {
	status := http.StatusOK
	if d.worker.Err() != nil {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, map[string]any{
		"ready": d.ready.Load(), "restarts": d.restarts.Load(), "pid": d.worker.PID(),
	})
}

// A question is the body of POST /chat.
type question struct {
	Messages    []mlxwire.Message `json:"messages"`
	MaxTokens   int               `json:"max_tokens"`
	Temperature float64           `json:"temperature"`
}

func (q question) options() []mlxwire.RequestOption {
	options := []mlxwire.RequestOption{mlxwire.WithTemperature(q.Temperature)}
	if q.MaxTokens != 0 {
		options = append(options, mlxwire.WithMaxTokens(q.MaxTokens))
	}
	return options
}

// chat answers with the events `token`, and one `done` or `error` at the end. The request's
// context ends when the client hangs up, which cancels in the worker.
func (d *daemon) chat(w http.ResponseWriter, r *http.Request) {
	var asked question
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBodyBytes)).Decode(&asked); err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]any{"error": err.Error()})
		return
	}
	stream, err := d.model.ChatStream(r.Context(), asked.Messages, asked.options()...)
	if err != nil {
		writeJSON(w, http.StatusServiceUnavailable, describe(err))
		return
	}
	events := newEventWriter(w)
	for token, err := range stream.Tokens() {
		if err != nil {
			events.send("error", describe(err))
			return
		}
		if events.send("token", map[string]any{"text": token.Text, "id": token.ID}) != nil {
			return // the client hung up: leaving the range cancels
		}
	}
	if done, ok := stream.Done(); ok {
		events.send("done", map[string]any{
			"finish_reason": done.FinishReason, "tokens": done.TokensGenerated,
			"tokens_per_second": done.Metrics.DecodeTokensPerSecond,
		})
	}
}

// describe tells a client what it can act upon.
func describe(err error) map[string]any {
	var own *mlxwire.Error
	if !errors.As(err, &own) {
		return map[string]any{"code": "cancelled", "message": err.Error()}
	}
	return map[string]any{
		"code": string(own.Code), "message": own.Message,
		"retryable": own.Retryable, "tokens_delivered": own.TokensDelivered,
	}
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that hung up is told nothing
}
