package mlxwire

import (
	"context"
	"sync"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// A Worker is a child process with one model in it; with WithRestart, a series of them.
type Worker struct {
	supervisor *supervisor

	turn chan struct{} // held by whoever changes what the process has loaded

	mu        sync.Mutex
	model     *Model       // the last that was loaded
	limits    MemoryLimits // that were set since
	inProcess *Model       // what its process has: another, where a load was cancelled too late
	doubtful  *connection  // in which a load failed, or is under way
}

// Start spawns a worker and shakes hands. The context bounds the start only; Close ends the
// worker. The error is an ErrInvalidParams of an option, an ErrSpawnFailed, an
// ErrHandshakeFailed where the program exits or does not answer as a worker does, what the
// worker refused hello with, or the context's. The child is gone in each case.
func Start(ctx context.Context, options ...StartOption) (*Worker, error) {
	o := applyStartOptions(options)
	if err := o.check(); err != nil {
		return nil, err
	}
	w := &Worker{turn: make(chan struct{}, 1)}
	w.supervisor = newSupervisor(o, w.reload)
	if err := w.supervisor.start(ctx); err != nil {
		return nil, err
	}
	return w, nil
}

// Load loads a model's folder. It replaces the model loaded before, whose Model is void then.
// That one stays where the new one fails its checks; with WithRestart it stays whatever the load
// failed with, and is loaded again by its next request where the worker has lost it.
func (w *Worker) Load(ctx context.Context, path string, options ...LoadOption) (*Model, error) {
	o := &loadOptions{fields: loadFields{Path: path}}
	for _, option := range options {
		option(o)
	}
	if err := w.takeTurn(ctx); err != nil {
		return nil, err
	}
	defer w.endTurn()
	c, err := w.supervisor.connection(ctx)
	if err != nil {
		return nil, err
	}
	model := &Model{worker: w, fields: o.fields}
	r := newRequest(c, wire.Load, requestHooks{
		progress: o.onProgress,
		final: func(kind string, _ []byte) {
			if kind == wire.Load.Final { // also where nobody waits for it any more
				w.loadedIs(model)
			}
		},
	})
	w.doubt(c)
	if err := c.send(r, o.fields); err != nil {
		return nil, err
	}
	line, err := r.result(ctx)
	if err != nil {
		return nil, err
	}
	if model.loaded, err = decodeReply[Loaded](line); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.replaceLocked(model)
	w.doubtful = nil
	return model, nil
}

// Metrics are sums over the life of the worker's process, and its state now.
func (w *Worker) Metrics(ctx context.Context) (WorkerMetrics, error) {
	return ask[WorkerMetrics](ctx, w, wire.Metrics, noFields{})
}

// CancelRequest cancels a request by its stream's ID, or all in flight where id is empty. Each
// still ends by itself, with an error that is context.Canceled.
func (w *Worker) CancelRequest(ctx context.Context, id string) (CancelResult, error) {
	var fields cancelFields
	if id != "" {
		fields.Target = &id
	}
	return ask[CancelResult](ctx, w, wire.Cancel, fields)
}

// Hello is what the worker said in the handshake: its identity, capabilities and limits.
func (w *Worker) Hello() Hello { return w.supervisor.last().hello }

// Capabilities are what the worker can do; what depends on the model is in Model.Info.
func (w *Worker) Capabilities() Capabilities { return w.Hello().Capabilities }

// PID is the id of the worker's process, also after its end.
func (w *Worker) PID() int { return w.supervisor.last().pid() }

// Stderr is the last 64 KiB that the worker's process wrote to stderr.
func (w *Worker) Stderr() string {
	ring := w.supervisor.last().stderr
	return ring.Tail(ring.Size())
}

// Done is closed when the worker is gone for good: closed, crashed, or given up. Err says why.
func (w *Worker) Done() <-chan struct{} { return w.supervisor.stopped }

// Err is why the worker is gone for good; nil while it is not.
func (w *Worker) Err() error { return w.supervisor.cause() }

// Close ends the worker: it is asked to quit, its stdin is closed, its group gets SIGTERM and
// SIGKILL, each step with its limit (ShutdownLimits). It may be called at any time, any number
// of times and from any goroutine.
func (w *Worker) Close() error { return w.supervisor.close() }

// supervised says whether a process that ends is followed by another.
func (w *Worker) supervised() bool { return w.supervisor.options.restart != nil }

// ask sends a request that one result answers.
func ask[T any](ctx context.Context, w *Worker, command *wire.Command, fields any) (T, error) {
	var none T
	c, err := w.supervisor.connection(ctx)
	if err != nil {
		return none, err
	}
	return askConnection[T](ctx, c, command, fields)
}

// askModel sends a request about a model that one result answers.
func askModel[T any](ctx context.Context, m *Model, command *wire.Command, fields any) (T, error) {
	var none T
	c, err := m.ready(ctx)
	if err != nil {
		return none, err
	}
	return askConnection[T](ctx, c, command, fields)
}

func askConnection[T any](ctx context.Context, c *connection, command *wire.Command, fields any) (T, error) {
	var none T
	line, err := c.ask(ctx, command, fields)
	if err != nil {
		return none, err
	}
	return decodeReply[T](line)
}
