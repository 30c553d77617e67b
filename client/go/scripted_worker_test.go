package mlxwire

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/process"
	"github.com/mlxwire/mlxwire/client/go/internal/workertest"
)

const patience = workertest.Patience

// A scriptedWorker is a worker in memory: a test reads the lines that the client writes, and
// decides which lines the worker writes.
type scriptedWorker struct {
	t        *testing.T
	handlers process.Handlers
	requests chan scriptedRequest
	exited   chan struct{}
	state    process.ExitState

	mu       sync.Mutex
	steps    []string // the steps of the shutdown ladder that the client took
	partial  []byte
	closed   bool
	stubborn bool // only Kill ends the worker
	immortal bool // nothing ends the worker
}

// A scriptedRequest is one line of the client.
type scriptedRequest struct {
	ID      string          `json:"id"`
	Cmd     string          `json:"cmd"`
	Target  string          `json:"target"`
	N       int             `json:"n"`
	Window  int             `json:"window"`
	Path    string          `json:"path"`
	Adapter string          `json:"adapter_path"`
	Prompt  string          `json:"prompt"`
	Raw     json.RawMessage `json:"-"`
}

// fields lists the request's fields without its id as name=value, sorted by name.
func (r scriptedRequest) fields(t *testing.T) []string {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal(r.Raw, &all); err != nil {
		t.Error(err)
	}
	delete(all, "id")
	var words []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		words = append(words, fmt.Sprintf("%s=%v", name, all[name]))
	}
	return words
}

func newScriptedWorker(t *testing.T, handlers process.Handlers) *scriptedWorker {
	return &scriptedWorker{
		t: t, handlers: handlers,
		requests: make(chan scriptedRequest, 1024), exited: make(chan struct{}),
	}
}

// The worker as the connection sees it: these methods implement child.

func (w *scriptedWorker) PID() int { return 4711 }

func (w *scriptedWorker) Write(line []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.partial = append(w.partial, line...)
	for {
		line, rest, ok := bytes.Cut(w.partial, []byte("\n"))
		if !ok || w.closed {
			return
		}
		request := scriptedRequest{Raw: bytes.Clone(line)}
		if err := json.Unmarshal(line, &request); err != nil {
			w.t.Errorf("the client wrote a line that is not JSON: %s", line)
		}
		w.partial = rest
		w.requests <- request
	}
}

func (w *scriptedWorker) CloseStdin() { w.step("close stdin", false) }

func (w *scriptedWorker) Terminate() { w.step("terminate", !w.stubborn && !w.immortal) }

func (w *scriptedWorker) Kill() { w.step("kill", !w.immortal) }

func (w *scriptedWorker) Dead() <-chan struct{} { return w.exited }

func (w *scriptedWorker) Exited() <-chan struct{} { return w.exited }

func (w *scriptedWorker) ExitState() process.ExitState { return w.state }

func (w *scriptedWorker) step(name string, ends bool) {
	w.mu.Lock()
	w.steps = append(w.steps, name)
	w.mu.Unlock()
	if ends {
		w.exit(process.ExitState{Code: -1, Signal: 15, Name: name})
	}
}

// The worker as a script drives it.

// exit ends the worker. A second call has no effect.
func (w *scriptedWorker) exit(state process.ExitState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed, w.state = true, state
		close(w.requests)
		close(w.exited)
	}
}

// stepsTaken returns the steps of the shutdown ladder that the client took so far.
func (w *scriptedWorker) stepsTaken() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.steps)
}

// next waits for the client's next request. The test fails if that is another command.
func (w *scriptedWorker) next(command string) scriptedRequest {
	w.t.Helper()
	select {
	case request, ok := <-w.requests:
		if !ok || request.Cmd != command {
			w.t.Errorf("the client wrote %s, want the command %s", request.Raw, command)
		}
		return request
	case <-time.After(patience):
		w.t.Errorf("the client did not write the command %s", command)
		return scriptedRequest{}
	}
}

// say writes one line to the client.
func (w *scriptedWorker) say(format string, arguments ...any) {
	w.handlers.Stdout(fmt.Appendf(nil, format+"\n", arguments...))
}

// reuse writes one line and then overwrites its buffer, as the reader of a pipe does.
func (w *scriptedWorker) reuse(format string, arguments ...any) {
	chunk := fmt.Appendf(nil, format+"\n", arguments...)
	w.handlers.Stdout(chunk)
	for i := range chunk {
		chunk[i] = 'x'
	}
}

func (w *scriptedWorker) result(id, fields string) { w.say(resultLine, id, fields) }

func (w *scriptedWorker) token(id string, seq int) {
	w.say(`{"type":"token","id":%q,"seq":%d,"token":"t%d","token_id":%d}`, id, seq, seq, seq)
}

// classified writes one item of a classification.
func (w *scriptedWorker) classified(id string, index int) {
	w.say(`{"id":%q,"type":"item","index":%d,"token":"a","token_id":%d,"logprob":-1}`, id, index, index)
}

// batched writes one item of a batch.
func (w *scriptedWorker) batched(id string, index int) {
	w.say(`{"id":%q,"type":"item","index":%d,"text":"t%d","token_ids":[1],"finish_reason":"stop","tokens_generated":1,"error":null}`,
		id, index, index)
}

func (w *scriptedWorker) done(id, reason string) { w.say(doneLine, id, reason) }

// fails answers a request with an error that is not retryable.
func (w *scriptedWorker) fails(id, code string) {
	w.say(`{"id":%q,"type":"error","final":true,"error":{"code":%q,"message":"m","retryable":false}}`, id, code)
}

// greet answers hello. The capabilities are JSON; the events are those that the worker sends.
func (w *scriptedWorker) greet(capabilities string, events ...string) scriptedRequest {
	hello := w.next("hello")
	w.result(hello.ID, helloFieldsOf("mock", capabilities, 1_000_000, events...))
	return hello
}

// load answers a load.
func (w *scriptedWorker) load() scriptedRequest {
	request := w.next("load")
	w.result(request.ID, loadedFields)
	return request
}

// memory answers a request for memory limits.
func (w *scriptedWorker) memory() scriptedRequest {
	request := w.next("memory")
	w.result(request.ID, `"active_bytes":0,"peak_bytes":0,"buffer_bytes":0,"sequence_bytes":0,"prompt_cache_bytes":0,`+
		`"memory_limit":0,"prompt_cache_limit":0,"buffer_limit":0,"wired_limit":0,"bytes_per_token":0`)
	return request
}

// tokenized answers a tokenize with three tokens.
func (w *scriptedWorker) tokenized() scriptedRequest {
	request := w.next("tokenize")
	w.result(request.ID, `"ids":[1,20,21],"count":3,"pieces":["<s>","a"," b"]`)
	return request
}

// answers answers as many generates with one token each.
func (w *scriptedWorker) answers(count int) {
	for range count {
		id := w.next("generate").ID
		w.token(id, 0)
		w.done(id, "stop")
	}
}

// quit ignores requests until quit comes, answers that and exits.
func (w *scriptedWorker) quit() {
	for request := range w.requests {
		if request.Cmd == "quit" {
			w.result(request.ID, `"ok":true`)
			w.exit(process.ExitState{})
		}
	}
}

// The replies that the burst worker writes too.

const (
	resultLine = `{"id":%q,"type":"result","final":true,%s}`
	doneLine   = `{"type":"done","id":%q,"final":true,"done":true,"finish_reason":%q,"tokens_generated":1,"metrics":{"prompt_tokens":3}}`

	loadedFields = `"ok":true,"load_seconds":0.1,"model_type":"scripted","vocab_size":1,"layers":1,"hidden_size":1,"context_len":1,` +
		`"quant_bits":0,"quant_group":0,"parameters":1,"weight_bytes":1,"path":"m","adapter_path":null,` +
		`"chat_template":true,"parallel_slots":1,"capabilities":{},"compute_dtype":"float32","blas":null,"blas_threads":0`

	// windows are the capabilities of a worker that knows windows.
	windows = `{"window":true}`

	heartbeat = `{"id":null,"type":"event","event":"heartbeat","data":{"phase":"decode","steps":3,"last_step_seconds":0.5}}`
)

// helloFieldsOf returns the fields of an answer to hello.
func helloFieldsOf(engine, capabilities string, maxLineBytes int, events ...string) string {
	listed := ""
	if len(events) > 0 {
		listed = `"` + strings.Join(events, `","`) + `"`
	}
	return fmt.Sprintf(`"protocol":1,"worker":{"name":"scripted","version":"1","pid":4711,"engine":%q},"capabilities":%s,`+
		`"limits":{"max_line_bytes":%d,"max_inflight":64},"events":[%s]`, engine, capabilities, maxLineBytes, listed)
}

// Scripts and how a test starts them.

// crash is the exit of a worker that crashed.
var crash = process.ExitState{Code: 139}

// healthy is the script of a worker that loads a model and answers one generate.
func healthy(w *scriptedWorker) {
	w.greet(windows)
	w.load()
	w.answers(1)
	w.quit()
}

// scripted makes Start run scripts in memory, one for each process; the last script runs for all
// further processes.
func scripted(t *testing.T, scripts ...func(*scriptedWorker)) StartOption {
	count := 0
	return func(o *startOptions) {
		o.command = []string{"scripted"}
		o.spawn = func(_ process.Command, handlers process.Handlers) (child, error) {
			w := newScriptedWorker(t, handlers)
			script := scripts[min(count, len(scripts)-1)]
			count++
			go script(w)
			return w, nil
		}
	}
}

// startModel starts a scripted worker that has loaded a model, and then follows the script.
func startModel(t *testing.T, capabilities string, script func(*scriptedWorker), options ...StartOption) (*Worker, *Model) {
	t.Helper()
	run := func(w *scriptedWorker) {
		w.greet(capabilities)
		w.load()
		script(w)
		w.quit()
	}
	worker, err := Start(t.Context(), append(options, scripted(t, run))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { worker.Close() })
	model, err := worker.Load(t.Context(), "m")
	if err != nil {
		t.Fatal(err)
	}
	return worker, model
}

// becomeImpatient gives each later request an idle timeout that soon passes. As an option of Start it
// would hold for the load too, which may take longer on a busy machine.
func becomeImpatient(worker *Worker) {
	worker.supervisor.last().options.idleTimeout = 10 * time.Millisecond
}

// script returns the worker in memory that a test started.
func script(worker *Worker) *scriptedWorker {
	return worker.supervisor.last().child.(*scriptedWorker)
}

// await fails the test if an event does not come.
func await(t *testing.T, event string, closed <-chan struct{}) {
	t.Helper()
	workertest.Await(t, event, closed)
}

// deadlined returns a context that ends with the test or when the test's patience does.
func deadlined(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
