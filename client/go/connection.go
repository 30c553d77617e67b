package mlxwire

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/process"
	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// Theory of operation
//
// A connection joins three things: the protocol's state machine (internal/wire), the worker's
// process (internal/process) and the pending requests (pending.go). These goroutines enter it:
//
//   - callers of the public API, in send, ask, tell and close;
//   - the reader of stdout, in stdoutReceived and stdoutEnded: it parses lines and hands each
//     reply to its request, and it must never wait for a consumer;
//   - the reader of stderr, in takeStderr;
//   - watch, which waits for the process to exit, pipeLost, which waits for a short time after a
//     pipe has closed, and the watchdog (liveness.go);
//   - the goroutine that end starts, which takes the steps of the shutdown ladder.
//
// Invariants:
//
//   - mu guards wire, so at most one goroutine is inside the state machine. Locks are taken in
//     the order connection.mu, then request.mu, because wire calls requests while mu is held. A
//     request must therefore never call the connection from inside a reply; it starts a goroutine.
//   - failure is set once. The first cause stays; send refuses requests from then on.
//   - deaf is set when the worker has broken a rule or is gone. Bytes that arrive later are
//     counted as a sign of life and dropped.
//   - gone is closed when the process has exited and no request is pending. ended is closed when the
//     ladder is done: after gone, or without it if the process survived SIGKILL.
//
// Order of events at a worker's death: the process exits, the readers drain what the pipes still
// hold, then watch fails the pending requests. So a request receives every reply that the worker
// wrote before it died. If a pipe closes first, pipeLost waits lostPipeGrace for the exit, whose
// code or signal is the better error; a process that lives on without its pipe is ended.

// lostPipeGrace is how long a connection waits for a process to exit after one of its pipes closed.
const lostPipeGrace = 300 * time.Millisecond

// child is the part of a worker's process that a connection needs.
type child interface {
	endable
	PID() int
	Dead() <-chan struct{}
	Write(line []byte)
	ExitState() process.ExitState
}

type spawner func(process.Command, process.Handlers) (child, error)

func spawnProcess(command process.Command, handlers process.Handlers) (child, error) {
	return process.Start(command, handlers)
}

// A connection is one process of a worker from its spawn to its end, with the requests to it.
type connection struct {
	options *startOptions
	ids     *idSource
	events  *dispatcher
	stderr  *process.StderrRing
	child   child
	hello   Hello
	gone    chan struct{} // closed when the process has exited and no request is pending
	ended   chan struct{} // closed when the shutdown ladder is done
	ending  sync.Once

	watchdog watchdog

	mu      sync.Mutex
	wire    *wire.ClientConnection
	failure *Error // why the connection accepts no more requests
	onCrash func(*Error, []*request)
	closing bool // the host has called close
	deaf    bool // bytes that still arrive are dropped
}

// idSource makes request ids that no earlier process of the same worker has seen.
type idSource struct{ count atomic.Uint64 }

func (s *idSource) next() string { return fmt.Sprintf("r%d", s.count.Add(1)) }

// send writes a request and makes it pending. The error is the failure of the connection, or says
// why the request can't be written.
func (c *connection) send(r *request, fields any) error {
	id := c.ids.next()
	line, err := encodeRequest(id, r.command, fields)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil {
		return delivered(c.failure, 0)
	}
	if size, limit := len(line)-1, c.wire.MaxLineBytes(); size > limit {
		e := newError(ErrMessageTooLarge,
			"the request has %d bytes; the worker accepts at most %d. Send less in one request", size, limit)
		e.Data = map[string]any{"max_line_bytes": limit}
		return e
	}
	r.id, r.fields = id, fields
	c.wire.Expect(id, repliesTo(fields), r)
	c.child.Write(line)
	return nil
}

// ask sends a request and waits for its result, which it returns as a line.
func (c *connection) ask(ctx context.Context, command *wire.Command, fields any) ([]byte, error) {
	r := newRequest(c, command, requestHooks{})
	if err := c.send(r, fields); err != nil {
		return nil, err
	}
	return r.result(ctx)
}

// tell sends a request without waiting for its answer. It has no effect after the connection has
// failed.
func (c *connection) tell(command *wire.Command, fields any) {
	_ = c.send(newRequest(c, command, requestHooks{}), fields)
}

// window returns how many messages of a stream the worker may send ahead of its consumer; 0 if the
// worker does not know windows.
func (c *connection) window() int {
	if !c.hello.Capabilities.Has("window") {
		return 0
	}
	return windowSize(c.options.window, c.options.bufferBytes)
}

func (c *connection) pid() int { return c.child.PID() }

func (c *connection) inFlight() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.wire.Pending())
}

func (c *connection) isClosing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}

func (c *connection) cause() *Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

// close asks the worker to quit and waits for its end. All callers share one ladder.
func (c *connection) close() error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.end(c.sayQuit)
	<-c.ended
	select {
	case <-c.gone:
		return nil
	default:
		return newError(ErrDrainTimeout, "the worker (pid %d) is still there after SIGKILL; look for it among the system's processes", c.pid())
	}
}

// abort ends a worker that the client can't talk to.
func (c *connection) abort() {
	c.end(nil)
	<-c.ended
}

func (c *connection) end(sayQuit func()) {
	c.ending.Do(func() {
		go func() {
			defer close(c.ended)
			if c.cause() != nil {
				sayQuit = nil
			}
			if endProcess(c.child, c.options.shutdown, sayQuit, c.inFlight) {
				<-c.gone
			}
			c.failClosed()
		}()
	})
}

// sayQuit asks the worker to end. The connection accepts no requests from then on; pending
// requests still receive their final replies.
func (c *connection) sayQuit() {
	c.tell(wire.Quit, noFields{})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure == nil {
		c.failure = closedByHost()
	}
}

// fail ends all pending requests with err. The connection keeps the first error it failed with.
func (c *connection) fail(err *Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure == nil {
		c.failure = err
		c.judgeCrash(err)
	}
	advise(err, c.options.restart != nil)
	c.deaf = true
	c.wire.FailAll(err)
}

// failClosed ends all pending requests of a worker that the host has closed.
func (c *connection) failClosed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure == nil {
		c.failure = closedByHost()
	}
	c.deaf = true
	c.wire.FailAll(cutByClose())
}

// violated ends the worker for a reply that the caller of a request could not read. It returns the
// error of that request.
func (c *connection) violated(err error) error {
	failure := offended(err, false, c.tail())
	c.fail(failure)
	c.end(nil)
	return delivered(failure, 0)
}

// stdoutReceived parses bytes of the worker and hands each reply to its request. This is the hot
// path of a stream.
func (c *connection) stdoutReceived(chunk []byte) {
	c.watchdog.heard.Add(1)
	c.offend(func() error { return c.wire.Receive(chunk) })
}

func (c *connection) stdoutEnded() {
	c.offend(c.wire.End)
	c.pipeLost("stdout")
}

// offend calls receive and ends the worker if its bytes broke a rule of the wire.
func (c *connection) offend(receive func() error) {
	c.mu.Lock()
	var offence error
	greeting := c.wire.State() == wire.Greeting
	if !c.deaf {
		offence = receive()
	}
	c.mu.Unlock()
	if offence != nil {
		c.fail(offended(offence, greeting, c.tail()))
		c.end(nil)
	}
}

// pipeLost handles the end of stdin or stdout. Either the process has died, or the client ends it,
// because a worker that closed a pipe would never answer (codex#26533).
func (c *connection) pipeLost(which string) {
	go func() {
		c.mu.Lock() // child is set once spawn has returned
		dead, greeting := c.child.Dead(), c.wire.State() == wire.Greeting
		c.mu.Unlock()
		if within(lostPipeGrace, dead) || c.isClosing() {
			return
		}
		c.fail(closedItsPipe(which, greeting, c.tail()))
		c.end(nil)
	}()
}

// watch waits for the process to exit and fails the pending requests.
func (c *connection) watch() {
	<-c.child.Exited()
	c.stderr.End()
	c.mu.Lock()
	greeting, strays, closing := c.wire.State() == wire.Greeting, c.wire.StrayLines(), c.closing
	c.mu.Unlock()
	if closing {
		c.failClosed()
	} else {
		c.fail(exited(c.child.ExitState(), greeting, strays, c.tail()))
	}
	close(c.gone)
}

func (c *connection) tail() string { return c.stderr.Tail(tailBytes) }

// describe returns a command line as error messages quote it.
func describe(words []string) string { return strings.Join(words, " ") }
