package mlxwire

import (
	"context"
	"errors"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// This file keeps a worker's process and the host's view of it in agreement. A new process
// receives the model of the last load that succeeded, and the memory limits. A load that fails
// after its checks, or is cancelled there, leaves the process without a model (SPEC §4.1), and a
// load that is cancelled too late leaves it with another model. The Worker keeps its earlier model
// in both cases, and the next request that needs the model loads it again.

const (
	replaced = "a later load replaced this model; use the Model that it returned"
	closed   = "this model was closed; load it again"
)

// reload gives a new process the model of the process before it, and then the memory limits.
func (w *Worker) reload(ctx context.Context, c *connection) error {
	w.mu.Lock()
	model, limits := w.model, w.limits
	w.mu.Unlock()
	if model != nil {
		if _, err := c.ask(ctx, wire.Load, model.fields); err != nil {
			return err
		}
	}
	w.loadedIs(model)
	if limits == (MemoryLimits{}) {
		return nil
	}
	_, err := c.ask(ctx, wire.Memory, limits.fields())
	return err
}

// ready returns the process to ask, after it has made sure that the process holds this model.
func (m *Model) ready(ctx context.Context) (*connection, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	w := m.worker
	c, err := w.supervisor.connection(ctx)
	if err != nil || !w.supervised() || !w.doubts(c) {
		return c, err
	}
	if err := w.takeTurn(ctx); err != nil {
		return nil, err
	}
	defer w.endTurn()
	if err := m.check(); err != nil { // a load that ended meanwhile may have replaced the model
		return nil, err
	}
	return c, w.restore(ctx, c)
}

// restore loads the model again if a failed load has removed it from the process.
func (w *Worker) restore(ctx context.Context, c *connection) error {
	if !w.doubts(c) {
		return nil
	}
	_, err := c.ask(ctx, wire.Info, noFields{}) // the worker answers this after the failed load is over
	if err != nil && !errors.Is(err, ErrModelNotLoaded) {
		return err
	}
	w.mu.Lock()
	gone := err != nil || w.inProcess != w.model
	w.mu.Unlock()
	if gone {
		if err := w.reload(ctx, c); err != nil {
			return err
		}
	}
	w.doubt(nil)
	return nil
}

// takeTurn waits until no other call changes which model the process has loaded.
func (w *Worker) takeTurn(ctx context.Context) error {
	select {
	case w.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *Worker) endTurn() { <-w.turn }

// doubt records that a process may have lost its model; nil ends the doubt.
func (w *Worker) doubt(c *connection) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.doubtful = c
}

func (w *Worker) doubts(c *connection) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.doubtful == c
}

// loadedIs records which model the process has loaded. It is called for each load that succeeds,
// even if the caller of Load has left.
func (w *Worker) loadedIs(model *Model) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inProcess = model
	if model != nil && !w.supervised() {
		w.replaceLocked(model) // without a supervisor the earlier model is not loaded again
	}
}

// replaceLocked makes a model the worker's, and the earlier one void.
func (w *Worker) replaceLocked(model *Model) {
	if w.model == model {
		return
	}
	if w.model != nil {
		w.model.gone = replaced
	}
	w.model, w.limits = model, w.limits.ofProcess()
}

// dropModel makes a model void. It returns false if the model is void already.
func (w *Worker) dropModel(model *Model) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.model != model {
		return false
	}
	model.gone = closed
	w.model, w.limits = nil, w.limits.ofProcess()
	return true
}
