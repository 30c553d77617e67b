package mlxwire

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

type phase uint8

// Theory of operation
//
// A request is one command from its line to its final reply. The connection's reader calls
// TakeToken, TakeReply and Fail, in the order in which the worker wrote, with connection.mu held.
// The caller of the public API waits in result or wait. Any goroutine may call leave: the
// caller, context.AfterFunc, or a stream that was closed.
//
//	running ──leave──▶ draining ──final, Fail──▶ over
//	running ───────────final, Fail─────────────▶ over
//
//   - running: replies go to the hooks.
//   - draining: the caller has left. The client has told the worker to cancel, once, and drops
//     every reply until the final one. A timer warns if that does not come.
//   - over: the final reply has come, or the connection has failed. drained is closed.
//
// Invariants: leave never waits for the worker. err is set once: the first reason to leave stays,
// even if the worker's own error or death follows. wake holds at most one value, so notify
// never blocks; a waiter looks at the state again after each wake-up.
//
// Hazard: hooks run under request.mu and connection.mu. They must not wait and must not call the
// connection. take therefore sends a cancel from a goroutine of its own.

// The phases of a request.
const (
	running phase = iota
	draining
	over
)

// requestHooks receive the replies to a request. The connection's reader calls them, except
// progress, with the request's lock held; they must not wait. An error that a hook returns ends
// the request.
type requestHooks struct {
	token func(*wire.Token) error
	item  func(line []byte) error
	// report receives the progress of a training.
	report func(line []byte) error
	// left drops the buffered messages when the caller leaves the request.
	left func()
	// final receives the final reply even if the caller has left the request.
	final func(kind string, line []byte)
	// progress is called by the goroutine that waits for the request, not by the reader.
	progress func(Progress)
}

// A request is one command from its line to its final reply.
type request struct {
	conn    *connection
	command *wire.Command
	fields  any // the command's fields, as on the wire
	id      string
	hooks   requestHooks
	wake    chan struct{} // holds a value when the state has changed
	drained chan struct{} // closed when the request is over

	mu         sync.Mutex
	phase      phase
	err        error  // what the caller's call ends with; set at the latest when the request is over
	kind       string // the type of the final reply
	final      []byte
	progress   *Progress // the last progress that was not reported to the caller yet
	drainTimer *time.Timer
}

func newRequest(conn *connection, command *wire.Command, hooks requestHooks) *request {
	return &request{
		conn: conn, command: command, hooks: hooks,
		wake: make(chan struct{}, 1), drained: make(chan struct{}),
	}
}

// result waits for the final reply of a request that does not stream, and returns its line.
func (r *request) result(ctx context.Context) ([]byte, error) {
	for {
		r.mu.Lock()
		ended, err, kind, final := r.phase == over || r.err != nil, r.err, r.kind, r.final
		r.mu.Unlock()
		r.tellProgress()
		switch {
		case err != nil:
			return nil, err
		case ended && kind == r.command.Final:
			return final, nil
		case ended:
			return nil, r.cancelledElsewhere()
		}
		if err := r.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// wait waits for the next change. It cancels the request when the context ends or when the idle
// timeout passes.
func (r *request) wait(ctx context.Context) error {
	var impatient <-chan time.Time
	// Hello has the start timeout instead, and a step of a training takes as long as it takes.
	if limit := r.conn.options.idleTimeout; limit > 0 && r.command != wire.Hello && r.command.Lane != wire.Background {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		impatient = timer.C
	}
	select {
	case <-r.wake:
		return nil
	case <-ctx.Done():
		r.leave(ctx.Err())
		return ctx.Err()
	case <-impatient:
		err := newError(ErrTimeout,
			"the worker sent nothing about `%s` for %v, so the client cancelled the request. Allow more time with WithIdleTimeout. %s",
			r.command.Name, r.conn.options.idleTimeout, r.conn.options.hangAdvice())
		r.leave(err)
		return err
	}
}

// leave cancels the request in the worker, at most once, and returns without waiting. The caller's
// call ends with err.
func (r *request) leave(err error) {
	r.mu.Lock()
	left := r.leaveLocked(err)
	r.mu.Unlock()
	if left {
		r.conn.tell(wire.Cancel, cancelFields{Target: &r.id})
	}
	r.notify()
}

// leaveLocked returns true if the caller still has to tell the worker to cancel.
func (r *request) leaveLocked(err error) bool {
	if r.err == nil {
		r.err = err
	}
	if r.hooks.left != nil {
		r.hooks.left()
	}
	if r.phase != running {
		return false
	}
	r.phase = draining
	limit := r.conn.options.drainTimeout
	if r.command.Lane == wire.Background {
		limit = max(limit, savingTime)
	}
	r.drainTimer = time.AfterFunc(limit, r.drainExpire)
	return true
}

// awaitDrained waits for the final reply of a request that its caller has left.
func (r *request) awaitDrained() error {
	limit := r.conn.options.drainTimeout
	if within(limit, r.drained) {
		return nil
	}
	return newError(ErrDrainTimeout,
		"the worker did not end the cancelled `%s` within %v. %s",
		r.command.Name, limit, r.conn.options.hangAdvice())
}

func (r *request) drainExpire() {
	r.conn.options.logger.Warn("the worker did not end a cancelled request in time; it may hang",
		"command", r.command.Name, "id", r.id, "pid", r.conn.pid())
}

// TakeToken implements wire.Sink.
func (r *request) TakeToken(token *wire.Token) {
	r.take(func() error {
		if r.hooks.token == nil {
			return nil
		}
		return r.hooks.token(token)
	})
}

// TakeReply implements wire.Sink.
func (r *request) TakeReply(kind string, final bool, line []byte) error {
	switch {
	case final:
		return r.takeFinal(kind, line)
	case kind == "item" && r.hooks.item != nil:
		r.take(func() error { return r.hooks.item(line) })
	case kind == "progress":
		progress, err := decodeReply[Progress](line)
		if err != nil {
			return err
		}
		if progress.Done < 0 || progress.Total < 0 {
			return fmt.Errorf("the worker sent a negative progress: %.200s", line)
		}
		if r.hooks.report != nil && progress.Stage == StageTrain {
			r.take(func() error { return r.hooks.report(line) })
		}
		if r.hooks.progress != nil {
			r.take(func() error { r.progress = &progress; return nil })
		}
	}
	r.notify() // any reply ends a wait for the idle timeout
	return nil
}

// take calls a hook with a reply while the request is running.
func (r *request) take(hand func() error) {
	r.mu.Lock()
	left := false
	if r.phase == running {
		if err := hand(); err != nil {
			left = r.leaveLocked(err)
		}
	}
	r.mu.Unlock()
	if left {
		// In a goroutine of its own, because the connection is locked here.
		go r.conn.tell(wire.Cancel, cancelFields{Target: &r.id})
	}
	r.notify()
}

func (r *request) takeFinal(kind string, line []byte) error {
	failure, err := r.checkFinal(kind, line)
	if err != nil {
		return err
	}
	r.mu.Lock()
	if failure != nil && r.err == nil {
		r.err = failure
	}
	r.kind, r.final = kind, bytes.Clone(line)
	r.endLocked()
	if r.hooks.final != nil {
		r.hooks.final(kind, line)
	}
	r.mu.Unlock()
	r.notify()
	return nil
}

// Fail implements wire.Sink. The connection has ended.
func (r *request) Fail(err error) {
	r.mu.Lock()
	if r.phase != over {
		if r.err == nil {
			r.err = err
		}
		r.endLocked()
	}
	r.mu.Unlock()
	r.notify()
}

func (r *request) endLocked() {
	if r.drainTimer != nil {
		r.drainTimer.Stop()
	}
	r.phase = over
	close(r.drained)
}

func (r *request) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *request) tellProgress() {
	r.mu.Lock()
	progress := r.progress
	r.progress = nil
	r.mu.Unlock()
	if progress != nil {
		r.hooks.progress(*progress)
	}
}
