package mlxwire

import (
	"cmp"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// parentVariable tells the worker which process to watch. Its parent may be another one, because a
	// wrapper may start it, and the host may have ended before the worker looks.
	parentVariable = "MLXWIRE_PARENT_PID"

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
	spawn        spawner // replaced by tests, which run a scripted worker in memory
}

// applyStartOptions returns the options of a start. The error is an ErrInvalidParams for a value that
// Start does not accept.
func applyStartOptions(options []StartOption) (*startOptions, error) {
	o := &startOptions{
		logger:       slog.New(slog.DiscardHandler),
		startTimeout: defaultStartTimeout,
		drainTimeout: defaultDrainTimeout,
		bufferBytes:  defaultBufferBytes,
		window:       largestWindow,
		shutdown:     DefaultShutdownLimits(),
		spawn:        spawnProcess,
	}
	if err := applyOptions("Start", o, options); err != nil {
		return nil, err
	}
	return o, o.check()
}

// check returns an ErrInvalidParams for a value that Start does not accept. It sets the fields that
// were left out of the structs.
func (o *startOptions) check() error {
	for _, number := range []struct {
		field, option string
		given         int
	}{{"window", "WithWindow", o.window}, {"buffer_bytes", "WithBufferBytes", o.bufferBytes}} {
		if number.given < 1 {
			return invalidParams(number.field, "%s was given %d; the smallest accepted value is 1", number.option, number.given)
		}
	}
	for _, limit := range []struct {
		field, option string
		given, least  time.Duration
	}{
		{"start_timeout", "WithStartTimeout", o.startTimeout, 1},
		{"idle_timeout", "WithIdleTimeout", o.idleTimeout, 0},
		{"drain_timeout", "WithDrainTimeout", o.drainTimeout, 0},
	} {
		if limit.given < limit.least {
			return invalidParams(limit.field, "%s was given %v; the smallest accepted value is %v", limit.option, limit.given, limit.least)
		}
	}
	if len(o.command) > 0 && o.command[0] == "" {
		return invalidParams("command", "WithCommand was given an empty program; name the worker's program, or leave the option out")
	}
	if o.restart != nil {
		if err := o.restart.complete(); err != nil {
			return err
		}
	}
	if o.liveness != nil {
		if err := o.liveness.complete(); err != nil {
			return err
		}
	}
	if err := o.shutdown.complete(); err != nil {
		return err
	}
	for i, variable := range o.env {
		if strings.Index(variable, "=") < 1 { // the message must not quote the text, which may be a secret
			return invalidParams("env", "argument %d of WithEnv has no name before an `=`; write it as \"NAME=value\"", i+1)
		}
	}
	return nil
}

// livenessLimits returns the limits in force. A supervised worker has default limits unless the
// host gave others.
func (o *startOptions) livenessLimits() LivenessLimits {
	switch {
	case o.liveness != nil:
		return *o.liveness
	case o.restart != nil:
		return DefaultLivenessLimits()
	}
	return LivenessLimits{}
}

// hangAdvice returns the part of an error message that says what to do about a worker that may
// hang.
func (o *startOptions) hangAdvice() string {
	if o.restart != nil && o.livenessLimits().shortest() > 0 {
		return "If the worker hangs, the client ends it and starts another one (WithLiveness, WithRestart)"
	}
	return "If the worker hangs, close it and start another one"
}

// environment returns the environment of the worker's process.
func (o *startOptions) environment() []string {
	variables := append(os.Environ(), o.env...) // if a name occurs twice, the last value counts
	return append(variables, parentVariable+"="+strconv.Itoa(os.Getpid()))
}

// lookUp returns the value of a variable in the worker's environment.
func (o *startOptions) lookUp(name string) string {
	for i := len(o.env) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(o.env[i], name+"="); ok {
			return value
		}
	}
	return os.Getenv(name)
}

// WithCommand names the worker's program and its arguments. Without this option Start runs the
// command that FindWorker returns.
func WithCommand(program string, args ...string) StartOption {
	return func(o *startOptions) { o.command = append([]string{program}, args...) }
}

// WithArgs adds arguments to the worker's command, such as "--model-root", "/srv/models".
func WithArgs(args ...string) StartOption {
	return func(o *startOptions) { o.args = append(o.args, args...) }
}

// WithEngine chooses the worker's engine: "mlx", or "mock", which needs no model. It is the same
// as WithArgs("--engine", name).
func WithEngine(name string) StartOption { return WithArgs("--engine", name) }

// WithEnv adds variables of the form "NAME=value" to the worker's environment, which otherwise
// is the host's. The client itself sets MLXWIRE_PARENT_PID.
func WithEnv(variables ...string) StartOption {
	return func(o *startOptions) { o.env = append(o.env, variables...) }
}

// WithDir sets the worker's working directory. Relative paths that the worker receives start
// there.
func WithDir(path string) StartOption {
	return func(o *startOptions) { o.dir = path }
}

// WithStderr copies the worker's stderr to w as it arrives. A Write that blocks stops the reader
// of stderr, and the worker blocks when that pipe is full. Worker.Stderr keeps the last 64 KiB
// in any case.
func WithStderr(w io.Writer) StartOption {
	return func(o *startOptions) { o.stderr = w }
}

// WithLogger logs starts, crashes and restarts, and at level Debug each line of stderr. A nil
// logger logs nothing, which is the default.
func WithLogger(logger *slog.Logger) StartOption {
	return func(o *startOptions) { o.logger = cmp.Or(logger, slog.New(slog.DiscardHandler)) }
}

// WithRestart starts the worker again after a crash and loads its model again. Without this
// option a crash ends the worker for good. The client never repeats a request.
func WithRestart(policy RestartPolicy) StartOption {
	return func(o *startOptions) { own := policy; o.restart = &own } // the start completes its own copy
}

// WithLiveness ends a worker that hangs; its requests then fail as after a crash. With
// WithRestart, DefaultLivenessLimits hold unless this option sets others. NoLimit as Silence and as
// Step switches the check off.
func WithLiveness(limits LivenessLimits) StartOption {
	return func(o *startOptions) { own := limits; o.liveness = &own }
}

// WithOnEvent calls tell with each Event of the worker (EventStarted, EventReady, …), in order
// and from a separate goroutine.
func WithOnEvent(tell func(Event)) StartOption {
	return func(o *startOptions) { o.onEvent = tell }
}

// WithHeartbeat asks the worker for heartbeats and calls tell with each, from the same goroutine
// as WithOnEvent.
func WithHeartbeat(tell func(Heartbeat)) StartOption {
	return func(o *startOptions) { o.onHeartbeat = tell }
}

// WithRequire names capabilities that the host needs. If the worker lacks one of them, Start
// fails with ErrUnsupportedCapability.
func WithRequire(capabilities ...string) StartOption {
	return func(o *startOptions) { o.require = append(o.require, capabilities...) }
}

// WithWindow sets how many messages of one stream the worker may send ahead of the consumer. The
// default is 4,096; it costs about 5 % of the speed of an unbounded stream.
func WithWindow(messages int) StartOption {
	return func(o *startOptions) { o.window = messages }
}

// WithBufferBytes bounds the bytes that one stream buffers for its consumer. A stream that passes
// the bound ends with ErrSlowConsumer; a worker that has windows stops sending before that. The
// default is 64 MiB.
func WithBufferBytes(n int) StartOption {
	return func(o *startOptions) { o.bufferBytes = n }
}

// WithStartTimeout sets how long the worker may take to answer hello. The default is 30 s.
func WithStartTimeout(limit time.Duration) StartOption {
	return func(o *startOptions) { o.startTimeout = limit }
}

// WithIdleTimeout cancels a request with ErrTimeout if its caller waits this long without a
// message of any kind. It applies to loads too. The default, 0, means never.
func WithIdleTimeout(limit time.Duration) StartOption {
	return func(o *startOptions) { o.idleTimeout = limit }
}

// WithDrainTimeout sets how long the worker may take to end a cancelled request. The default is
// 5 s.
func WithDrainTimeout(limit time.Duration) StartOption {
	return func(o *startOptions) { o.drainTimeout = limit }
}

// WithShutdownLimits sets how long each step of Close may take.
func WithShutdownLimits(limits ShutdownLimits) StartOption {
	return func(o *startOptions) { o.shutdown = limits }
}
