package mlxwire

import (
	"context"
	"errors"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// What each process of a worker is given: the model of the last load that succeeded, and limits
// of memory. A load that fails after its checks, or is cancelled there, leaves the process without
// a model (SPEC §4.1), and one that is cancelled too late leaves it with another; the model of
// before is the worker's still, and is loaded again by the next need.

const (
	replaced = "this model was replaced by a later load; use that one"
	closed   = "this model was closed; load it again"
)

// reload gives a process that was restarted what the one before it had: the model, and then the
// limits.
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

// ready gives the process to ask, with the model in it.
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
	if err := m.check(); err != nil { // the load that was waited for may have replaced it
		return nil, err
	}
	return c, w.restore(ctx, c)
}

// restore loads the model again where a load that failed has cost it.
func (w *Worker) restore(ctx context.Context, c *connection) error {
	if !w.doubts(c) {
		return nil
	}
	_, err := c.ask(ctx, wire.Info, noFields{}) // answered when the load that failed is over
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

// takeTurn waits until nobody else changes what the process has loaded.
func (w *Worker) takeTurn(ctx context.Context) error {
	select {
	case w.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *Worker) endTurn() { <-w.turn }

// doubt remembers that a process may have lost its model.
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

// loadedIs is told what the process has loaded, also where the load's caller has gone.
func (w *Worker) loadedIs(model *Model) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inProcess = model
	if model != nil && !w.supervised() {
		w.replaceLocked(model) // nobody would load the one before again
	}
}

// replaceLocked makes a model the worker's, and the one before void.
func (w *Worker) replaceLocked(model *Model) {
	if w.model == model {
		return
	}
	if w.model != nil {
		w.model.gone = replaced
	}
	w.model, w.limits = model, w.limits.ofProcess()
}

// dropModel makes a model void; false where it is already.
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
