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

// lostPipeGrace is the time between a pipe's end and the exit that most likely caused it.
const lostPipeGrace = 300 * time.Millisecond

// child is what a connection needs of a worker's process.
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

// A connection is one worker's process from its spawn to its end, and the requests to it.
type connection struct {
	options *startOptions
	ids     *idSource
	events  *dispatcher
	stderr  *process.StderrRing
	child   child
	hello   Hello
	gone    chan struct{} // closed when the process has ended and nothing is pending
	ended   chan struct{} // closed when the ladder has been gone down
	ending  sync.Once

	watchdog watchdog

	mu      sync.Mutex
	wire    *wire.ClientConnection
	failure *Error // why nothing can be asked any more
	onCrash func(*Error, []*request)
	closing bool // by the host
	deaf    bool // what still comes can't be trusted, or is for nobody
}

// idSource makes ids that are new also for the process that comes after a crash.
type idSource struct{ count atomic.Uint64 }

func (s *idSource) next() string { return fmt.Sprintf("r%d", s.count.Add(1)) }

// send writes a request and makes it pending. The error is what ended the connection, or why
// the request can't be written.
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
			"the request has %d bytes, the worker takes %d; send less in one request", size, limit)
		e.Data = map[string]any{"max_line_bytes": limit}
		return e
	}
	r.id, r.fields = id, fields
	c.wire.Expect(id, r)
	c.child.Write(line)
	return nil
}

// ask sends a request that one result answers, and waits for its line.
func (c *connection) ask(ctx context.Context, command *wire.Command, fields any) ([]byte, error) {
	r := newRequest(c, command, requestHooks{})
	if err := c.send(r, fields); err != nil {
		return nil, err
	}
	return r.result(ctx)
}

// tell sends a request whose answer nobody waits for. Nothing is told once the connection has
// failed.
func (c *connection) tell(command *wire.Command, fields any) {
	_ = c.send(newRequest(c, command, requestHooks{}), fields)
}

// window is how many messages of a stream may be on their way; 0 where the worker can't hold
// back.
func (c *connection) window() int {
	if !c.hello.Capabilities.Has("window") {
		return 0
	}
	return windowSize(c.options.window, c.options.bufferBytes)
}

func (c *connection) pid() int { return c.child.PID() }

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

// close asks the worker to quit and sees it out. Any number of callers share one ending.
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
		return newError(ErrDrainTimeout, "the worker (pid %d) did not end, not even by SIGKILL", c.pid())
	}
}

// abort ends a worker that can't be talked to.
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
			if endProcess(c.child, c.options.shutdown, sayQuit) {
				<-c.gone
			}
			c.fail(closedByHost())
		}()
	})
}

// sayQuit asks the worker to end. Nothing new is asked after it; what is pending still gets its
// finals.
func (c *connection) sayQuit() {
	c.tell(wire.Quit, noFields{})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure == nil {
		c.failure = closedByHost()
	}
}

// fail ends all that is pending; the first cause stays the connection's.
func (c *connection) fail(err *Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	advise(err, c.options.restart != nil)
	if c.failure == nil {
		c.failure = err
		c.judgeCrash(err)
	}
	c.deaf = true
	c.wire.FailAll(err)
}

// watchCrash has a supervisor add to a crash what it knows, before anybody hears of it.
func (c *connection) watchCrash(judge func(*Error, []*request)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onCrash = judge
}

// judgeCrash adds to a crash what it may have come of.
func (c *connection) judgeCrash(err *Error) {
	if err.Code != ErrWorkerCrashed {
		return
	}
	var asked []*request
	for _, sink := range c.wire.Pending() {
		if r := sink.(*request); r.asks() {
			asked = append(asked, r)
		}
	}
	err.InFlight = len(asked)
	if c.onCrash != nil {
		c.onCrash(err, asked)
	}
}

// stdoutReceived is the hot path: it hands each reply to its request.
func (c *connection) stdoutReceived(chunk []byte) {
	c.watchdog.heard.Add(1)
	c.offend(func() error { return c.wire.Receive(chunk) })
}

func (c *connection) stdoutEnded() {
	c.offend(c.wire.End)
	c.pipeLost("stdout")
}

// offend ends a worker that breaks the wire's rules.
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

// pipeLost takes the end of a pipe: the process has died, or has to (codex#26533).
func (c *connection) pipeLost(which string) {
	go func() {
		c.mu.Lock() // until the spawn has returned
		dead, greeting := c.child.Dead(), c.wire.State() == wire.Greeting
		c.mu.Unlock()
		if within(lostPipeGrace, dead) || c.isClosing() {
			return
		}
		c.fail(closedItsPipe(which, greeting, c.tail()))
		c.end(nil)
	}()
}

// watch takes the process' end.
func (c *connection) watch() {
	<-c.child.Exited()
	c.stderr.End()
	c.mu.Lock()
	greeting, strays, closing := c.wire.State() == wire.Greeting, c.wire.StrayLines(), c.closing
	c.mu.Unlock()
	if closing {
		c.fail(closedByHost())
	} else {
		c.fail(exited(c.child.ExitState(), greeting, strays, c.tail()))
	}
	close(c.gone)
}

func (c *connection) tail() string { return c.stderr.Tail(tailBytes) }

// describe is the command for messages.
func describe(words []string) string { return strings.Join(words, " ") }
