package mlxwire

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/mlxwire/mlxwire/client/go/internal/process"
	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// connect spawns a worker and shakes hands with it. If it returns an error, the process has ended.
func connect(ctx context.Context, o *startOptions, ids *idSource, events *dispatcher) (*connection, error) {
	c := &connection{
		options: o, ids: ids, events: events,
		stderr: newStderrRing(o),
		wire:   wire.NewClientConnection(),
		gone:   make(chan struct{}),
		ended:  make(chan struct{}),
	}
	c.wire.OnEvent = c.takeEvent
	hello := newRequest(c, wire.Hello, requestHooks{})
	hello.id = ids.next()
	line, err := encodeRequest(hello.id, hello.command, helloFields{
		Protocols: []int{wire.Protocol},
		Client:    clientInfo{Name: "mlxwire-go", Version: Version},
		Require:   o.require,
		Events:    c.wantedEvents(),
	})
	if err != nil {
		return nil, err
	}
	words, err := workerCommand(ctx, o) // after the last check, since it may run a program
	if err != nil {
		return nil, err
	}
	if err := c.spawn(words, hello, line); err != nil {
		return nil, err
	}
	go c.watch()
	if err := c.greeted(ctx, hello); err != nil {
		c.abort()
		var failure *Error
		if errors.As(err, &failure) {
			failure.Stderr = c.tail() // stderr may have brought more since the failure
		}
		return nil, err
	}
	go c.watchdog.guard(c)
	return c, nil
}

// spawn starts the process and writes hello. It holds the lock meanwhile, so that the readers of
// the pipes see a connection that has its child.
func (c *connection) spawn(words []string, hello *request, line []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	command := process.Command{Args: words, Env: c.options.environment(), Dir: c.options.dir}
	child, err := c.options.spawn(command, process.Handlers{
		Stdout:      c.stdoutReceived,
		Stderr:      c.takeStderr,
		StdoutEnded: c.stdoutEnded,
		StdinBroken: func() { c.pipeLost("stdin") },
	})
	if err != nil {
		return notSpawned(words, c.options.dir, err)
	}
	c.child = child
	c.wire.ExpectHello(hello.id, hello)
	child.Write(line)
	return nil
}

// greeted waits for the answer to hello.
func (c *connection) greeted(ctx context.Context, hello *request) error {
	limited, cancel := context.WithTimeout(ctx, c.options.startTimeout)
	defer cancel()
	line, err := hello.result(limited)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		c.mu.Lock()
		strays := slices.Clone(c.wire.StrayLines())
		c.mu.Unlock()
		return newError(ErrHandshakeFailed,
			"the worker did not answer hello within %v%s. Check that the command is a worker, or allow more time with WithStartTimeout",
			c.options.startTimeout, describeStrays(strays))
	case err != nil:
		return err
	}
	if c.hello, err = decodeReply[Hello](line); err != nil {
		return newError(ErrHandshakeFailed, "%v", err) // not its cause, which has another code
	}
	return nil
}

func (c *connection) takeStderr(chunk []byte) {
	_, _ = c.stderr.Write(chunk)
	if c.options.stderr != nil {
		_, _ = c.options.stderr.Write(chunk) // an error of the host's writer does not concern the client
	}
}

// newStderrRing returns the ring that keeps stderr. It also logs each line if the host's logger
// logs at level Debug.
func newStderrRing(o *startOptions) *process.StderrRing {
	if !o.logger.Enabled(context.Background(), slog.LevelDebug) {
		return process.NewStderrRing(process.DefaultRingBytes, nil)
	}
	return process.NewStderrRing(process.DefaultRingBytes, func(line string) {
		o.logger.Debug("worker", "stderr", line)
	})
}
