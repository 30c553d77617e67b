package mlxwire

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

type phase uint8

// A request runs, may be left and is drained then, and is over with its final or with its
// connection.
const (
	running phase = iota
	draining
	over
)

// requestHooks are what becomes of a request's replies. They are called by the connection's
// reader, with the request's lock held, and must not wait. An error ends the request.
type requestHooks struct {
	token func(*wire.Token) error
	item  func(line []byte) error
	// left drops what was buffered: nobody will take it.
	left func()
	// final hears of the final also when nobody waits for it any more.
	final func(kind string, line []byte)
	// progress is called by whoever waits, not by the reader.
	progress func(Progress)
}

// A request is one command from its line to its final. Leaving it never waits for the worker:
// it is cancelled there, and its further replies are dropped until the final comes.
type request struct {
	conn    *connection
	command *wire.Command
	fields  any // what it asks, as on the wire
	id      string
	hooks   requestHooks
	wake    chan struct{} // has a value when something changed
	drained chan struct{} // closed when the request is over

	mu         sync.Mutex
	phase      phase
	err        error  // why it is over for its caller; may be set while it is drained
	kind       string // of the final
	final      []byte
	progress   *Progress // the last that was not told yet
	drainTimer *time.Timer
}

func newRequest(conn *connection, command *wire.Command, hooks requestHooks) *request {
	return &request{
		conn: conn, command: command, hooks: hooks,
		wake: make(chan struct{}, 1), drained: make(chan struct{}),
	}
}

// result waits for the one result of a request that does not stream.
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

// wait waits for the next change. The end of the context, or of the patience that the client
// was started with, cancels the request.
func (r *request) wait(ctx context.Context) error {
	var impatient <-chan time.Time
	// The start has a limit of its own.
	if limit := r.conn.options.idleTimeout; limit > 0 && r.command != wire.Hello {
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
			"the worker was silent about `%s` for %v, and the request was cancelled; give it more time. %s",
			r.command.Name, r.conn.options.idleTimeout, r.conn.options.hangAdvice())
		r.leave(err)
		return err
	}
}

// asks says whether a worker may die of it.
func (r *request) asks() bool {
	return !r.command.Blameless
}

// leave cancels the request, once, and returns without waiting for the worker. err is what its
// caller gets from now on.
func (r *request) leave(err error) {
	r.mu.Lock()
	left := r.leaveLocked(err)
	r.mu.Unlock()
	if left {
		r.conn.tell(wire.Cancel, cancelFields{Target: &r.id})
	}
	r.notify()
}

// leaveLocked reports whether there is something to cancel in the worker.
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
	r.drainTimer = time.AfterFunc(r.conn.options.drainTimeout, r.drainExpire)
	return true
}

// awaitDrained waits until a request that was left has its final.
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
	r.conn.options.logger.Warn("a cancelled request was not ended in time; the worker may hang",
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
func (r *request) TakeReply(kind string, final bool, line []byte) {
	switch {
	case final:
		r.takeFinal(kind, line)
	case kind == "item" && r.hooks.item != nil:
		r.take(func() error { return r.hooks.item(line) })
	case kind == "progress" && r.hooks.progress != nil:
		r.take(func() error {
			progress, err := decodeReply[Progress](line)
			r.progress = &progress
			return err
		})
	default:
		r.notify() // a sign of life, also of what nobody asked to be told
	}
}

// take hands a reply to its hook while somebody wants it.
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
		// Not from here: the connection is locked while it hands on replies.
		go r.conn.tell(wire.Cancel, cancelFields{Target: &r.id})
	}
	r.notify()
}

func (r *request) takeFinal(kind string, line []byte) {
	r.mu.Lock()
	if kind == "error" && r.err == nil {
		r.err = errorFromReply(line)
	}
	r.kind, r.final = kind, bytes.Clone(line)
	r.endLocked()
	if r.hooks.final != nil {
		r.hooks.final(kind, line)
	}
	r.mu.Unlock()
	r.notify()
}

// Fail implements wire.Sink: the connection has ended.
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

// cancelledElsewhere is the failure of a request that ended as cancelled though its caller did
// not leave it.
func (r *request) cancelledElsewhere() error {
	if r.conn.isClosing() {
		return closedByHost()
	}
	return newError(ErrCancelled, "`%s` was cancelled by another call; ask again where it is still wanted", r.command.Name)
}
