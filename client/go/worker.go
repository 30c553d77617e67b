package mlxwire

import (
	"context"
	"sync"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// A Worker is a child process that holds at most one model. With WithRestart it is a series of
// such processes, of which one runs at a time.
type Worker struct {
	supervisor *supervisor

	turn chan struct{} // holds a value while a call changes which model the process has loaded

	mu        sync.Mutex
	model     *Model       // the model of the last Load that succeeded
	limits    MemoryLimits // the limits of SetMemory since that load
	inProcess *Model       // the model in the process; differs from model after a load that was cancelled too late
	doubtful  *connection  // the connection on which a load has failed or is under way
}

// Start spawns a worker and shakes hands with it. The context bounds the start only; Close ends
// the worker. If Start fails, the child process has ended when it returns. The error is
//
//   - ErrInvalidParams if the context or an option is nil or has a value that is not accepted,
//   - ErrSpawnFailed if the system could not start the program,
//   - ErrHandshakeFailed if the program exits or does not answer hello as a worker does,
//   - the worker's own error if it refuses hello,
//   - the context's error if the context ends first.
func Start(ctx context.Context, options ...StartOption) (*Worker, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	o, err := applyStartOptions(options)
	if err != nil {
		return nil, err
	}
	w := &Worker{turn: make(chan struct{}, 1)}
	w.supervisor = newSupervisor(o, w.reload)
	if err := w.supervisor.start(ctx); err != nil {
		return nil, err
	}
	return w, nil
}

// Load loads the model in a folder. It replaces the model that was loaded before and makes that
// Model void. If the new model fails the worker's checks, the earlier one stays loaded. With
// WithRestart the earlier Model stays valid after every failed load: if the worker has lost it,
// its next request loads it again.
func (w *Worker) Load(ctx context.Context, path string, options ...LoadOption) (*Model, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	o := &loadOptions{fields: loadFields{Path: path}}
	if err := applyOptions("Load", o, options); err != nil {
		return nil, err
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
			if kind == wire.Load.Final { // called even if Load has returned by then
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
		return nil, c.violated(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.replaceLocked(model)
	w.doubtful = nil
	return model, nil
}

// Metrics returns sums over the life of the worker's process, and its present state.
func (w *Worker) Metrics(ctx context.Context) (WorkerMetrics, error) {
	return ask[WorkerMetrics](ctx, w, wire.Metrics, noFields{})
}

// CancelRequest cancels the request with a stream's ID, or all requests in flight if id is
// empty. Each cancelled request still ends by itself, with an ErrCancelled.
func (w *Worker) CancelRequest(ctx context.Context, id string) (CancelResult, error) {
	var fields cancelFields
	if id != "" {
		fields.Target = &id
	}
	return ask[CancelResult](ctx, w, wire.Cancel, fields)
}

// Hello returns the worker's answer in the handshake: its identity, capabilities and limits.
func (w *Worker) Hello() Hello { return w.supervisor.last().hello }

// Capabilities returns what the worker can do. Model.Info lists what depends on the model.
func (w *Worker) Capabilities() Capabilities { return w.Hello().Capabilities }

// PID returns the id of the worker's process. It stays the same after the process has ended.
func (w *Worker) PID() int { return w.supervisor.last().pid() }

// Stderr returns the last 64 KiB that the worker's process wrote to stderr.
func (w *Worker) Stderr() string {
	ring := w.supervisor.last().stderr
	return ring.Tail(ring.Size())
}

// Done returns a channel that is closed when the worker has ended for good: it was closed, it
// crashed, or its restart policy gave it up. Err returns the reason.
func (w *Worker) Done() <-chan struct{} { return w.supervisor.stopped }

// Err returns why the worker has ended for good. It returns nil before that.
func (w *Worker) Err() error { return w.supervisor.cause() }

// Close ends the worker. It asks the worker to quit, closes its stdin, sends SIGTERM and then
// SIGKILL to its process group; each step has its limit (ShutdownLimits). Any goroutine may call
// Close at any time, and call it again. The error is ErrDrainTimeout if the process survived
// SIGKILL.
func (w *Worker) Close() error { return w.supervisor.close() }

// supervised returns true if another process replaces one that ends.
func (w *Worker) supervised() bool { return w.supervisor.options.restart != nil }

// ask sends a request and returns its result.
func ask[T any](ctx context.Context, w *Worker, command *wire.Command, fields any) (T, error) {
	var none T
	c, err := w.supervisor.connection(ctx)
	if err != nil {
		return none, err
	}
	return askConnection[T](ctx, c, command, fields)
}

// askModel sends a request that needs the model and returns its result.
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
	reply, err := decodeReply[T](line)
	if err != nil {
		return none, c.violated(err)
	}
	return reply, nil
}
