package mlxwire

import (
	"cmp"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"
)

const (
	defaultStartTimeout = 30 * time.Second
	defaultDrainTimeout = 5 * time.Second
	defaultBufferBytes  = 64 << 20
)

// A StartOption is an option of Start.
type StartOption func(*startOptions)

type startOptions struct {
	command      []string
	args         []string
	env          []string
	dir          string
	stderr       io.Writer
	logger       *slog.Logger
	startTimeout time.Duration
	idleTimeout  time.Duration
	drainTimeout time.Duration
	bufferBytes  int
	window       int
	shutdown     ShutdownLimits
	restart      *RestartPolicy
	liveness     *LivenessLimits
	require      []string
	onEvent      func(Event)
	onHeartbeat  func(Heartbeat)
	spawn        spawner // how tests put a scripted worker in a process' place
}

func applyStartOptions(options []StartOption) *startOptions {
	o := &startOptions{
		logger:       slog.New(slog.DiscardHandler),
		startTimeout: defaultStartTimeout,
		drainTimeout: defaultDrainTimeout,
		bufferBytes:  defaultBufferBytes,
		window:       largestWindow,
		shutdown:     DefaultShutdownLimits(),
		spawn:        spawnProcess,
	}
	for _, option := range options {
		option(o)
	}
	return o
}

// check refuses what a start can't heed.
func (o *startOptions) check() error {
	for _, least := range []struct {
		field, option string
		given, least  int64
	}{
		{"window", "WithWindow", int64(o.window), 1},
		{"buffer_bytes", "WithBufferBytes", int64(o.bufferBytes), 1},
		{"start_timeout", "WithStartTimeout", int64(o.startTimeout), 1},
		{"idle_timeout", "WithIdleTimeout", int64(o.idleTimeout), 0},
		{"drain_timeout", "WithDrainTimeout", int64(o.drainTimeout), 0},
	} {
		if least.given < least.least {
			return invalidParams(least.field, "%s takes no less than %d, but was given %d", least.option, least.least, least.given)
		}
	}
	for i, variable := range o.env {
		if strings.Index(variable, "=") < 1 { // its text may be a secret
			return invalidParams("env", "WithEnv takes \"NAME=value\": what it was given as number %d has no name", i+1)
		}
	}
	return nil
}

// livenessLimits hold for a supervised worker unless it was told others.
func (o *startOptions) livenessLimits() LivenessLimits {
	switch {
	case o.liveness != nil:
		return *o.liveness
	case o.restart != nil:
		return DefaultLivenessLimits()
	}
	return LivenessLimits{}
}

// hangAdvice is what to do about a worker that may hang.
func (o *startOptions) hangAdvice() string {
	if o.restart != nil && o.livenessLimits().shortest() > 0 {
		return "A worker that hangs is ended, and another one started (WithLiveness, WithRestart)"
	}
	return "If it hangs, close it and start another one"
}

// environment is the worker's own.
func (o *startOptions) environment() []string {
	return append(os.Environ(), o.env...) // of a name that occurs twice the last counts
}

func (o *startOptions) lookUp(name string) string {
	for i := len(o.env) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(o.env[i], name+"="); ok {
			return value
		}
	}
	return os.Getenv(name)
}

// WithCommand names the worker's program and its arguments. Without it, see FindWorker.
func WithCommand(program string, args ...string) StartOption {
	return func(o *startOptions) { o.command = append([]string{program}, args...) }
}

// WithArgs adds arguments to the command, such as "--model-root", "/srv/models".
func WithArgs(args ...string) StartOption {
	return func(o *startOptions) { o.args = append(o.args, args...) }
}

// WithEngine is WithArgs("--engine", name): "mlx", or "mock", which needs no model.
func WithEngine(name string) StartOption { return WithArgs("--engine", name) }

// WithEnv adds "NAME=value" to the host's own environment, for the worker.
func WithEnv(variables ...string) StartOption {
	return func(o *startOptions) { o.env = append(o.env, variables...) }
}

// WithDir is the folder that the worker runs in, where relative paths begin.
func WithDir(path string) StartOption {
	return func(o *startOptions) { o.dir = path }
}

// WithStderr copies the worker's stderr to w as it comes. A Write that waits holds up the
// worker; see Worker.Stderr for what is kept anyway.
func WithStderr(w io.Writer) StartOption {
	return func(o *startOptions) { o.stderr = w }
}

// WithLogger tells of starts, crashes and restarts, and at level Debug each line of stderr. Nil
// is no logger, as without it.
func WithLogger(logger *slog.Logger) StartOption {
	return func(o *startOptions) { o.logger = cmp.Or(logger, slog.New(slog.DiscardHandler)) }
}

// WithRestart starts the worker again after a crash, and loads its model again. Without it a
// crash is the worker's end. No request is ever repeated.
func WithRestart(policy RestartPolicy) StartOption {
	return func(o *startOptions) { o.restart = &policy }
}

// WithLiveness ends a worker that hangs, which is a crash like any other. With WithRestart it
// holds with DefaultLivenessLimits unless it is given; LivenessLimits{} turns it off.
func WithLiveness(limits LivenessLimits) StartOption {
	return func(o *startOptions) { o.liveness = &limits }
}

// WithOnEvent is told what becomes of the worker: EventStarted, EventReady, … in their order,
// by a goroutine of their own.
func WithOnEvent(tell func(Event)) StartOption {
	return func(o *startOptions) { o.onEvent = tell }
}

// WithHeartbeat asks the worker for its heartbeat, and is told of each, like WithOnEvent.
func WithHeartbeat(tell func(Heartbeat)) StartOption {
	return func(o *startOptions) { o.onHeartbeat = tell }
}

// WithRequire names capabilities without which the worker is of no use: Start then fails with
// ErrUnsupportedCapability.
func WithRequire(capabilities ...string) StartOption {
	return func(o *startOptions) { o.require = append(o.require, capabilities...) }
}

// WithWindow is how many messages of one stream may be on their way to a consumer that sleeps.
// The default is 4,096, which costs a twentieth of the speed of one without bounds.
func WithWindow(messages int) StartOption {
	return func(o *startOptions) { o.window = messages }
}

// WithBufferBytes bounds what one stream holds for its consumer; past it the stream ends with
// ErrSlowConsumer. A worker that knows windows waits before that. The default is 64 MiB.
func WithBufferBytes(n int) StartOption {
	return func(o *startOptions) { o.bufferBytes = n }
}

// WithStartTimeout is how long the worker may take to answer hello. The default is 30 s.
func WithStartTimeout(limit time.Duration) StartOption {
	return func(o *startOptions) { o.startTimeout = limit }
}

// WithIdleTimeout ends a request with ErrTimeout where somebody has waited for its next message,
// of whatever kind, so long. It holds for loads too. The default is 0: never.
func WithIdleTimeout(limit time.Duration) StartOption {
	return func(o *startOptions) { o.idleTimeout = limit }
}

// WithDrainTimeout is how long the worker has to end a cancelled request. The default is 5 s.
func WithDrainTimeout(limit time.Duration) StartOption {
	return func(o *startOptions) { o.drainTimeout = limit }
}

// WithShutdownLimits sets how long each step of Close may take.
func WithShutdownLimits(limits ShutdownLimits) StartOption {
	return func(o *startOptions) { o.shutdown = limits }
}
