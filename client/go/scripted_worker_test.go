package mlxwire

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/process"
)

// patience is how long a test waits for what must come; generous, for a loaded machine.
const patience = 30 * time.Second

// A scriptedWorker is a worker in memory: a test reads what the client writes, and says what
// the worker writes.
type scriptedWorker struct {
	t        *testing.T
	handlers process.Handlers
	requests chan scriptedRequest
	exited   chan struct{}
	state    process.ExitState

	mu       sync.Mutex
	steps    []string // of the ladder
	partial  []byte
	closed   bool
	stubborn bool // only Kill ends it
	immortal bool // nothing does
}

// A scriptedRequest is one line of the client's.
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

func newScriptedWorker(t *testing.T, handlers process.Handlers) *scriptedWorker {
	return &scriptedWorker{
		t: t, handlers: handlers,
		requests: make(chan scriptedRequest, 1024), exited: make(chan struct{}),
	}
}

// PID implements child.
func (w *scriptedWorker) PID() int { return 4711 }

// Write implements child.
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
			w.t.Errorf("the client wrote no JSON: %s", line)
		}
		w.partial = rest
		w.requests <- request
	}
}

// CloseStdin implements child.
func (w *scriptedWorker) CloseStdin() { w.step("close stdin", false) }

// Terminate implements child.
func (w *scriptedWorker) Terminate() { w.step("terminate", !w.stubborn && !w.immortal) }

// Kill implements child.
func (w *scriptedWorker) Kill() { w.step("kill", !w.immortal) }

// Dead implements child.
func (w *scriptedWorker) Dead() <-chan struct{} { return w.exited }

// Exited implements child.
func (w *scriptedWorker) Exited() <-chan struct{} { return w.exited }

// ExitState implements child.
func (w *scriptedWorker) ExitState() process.ExitState { return w.state }

func (w *scriptedWorker) step(name string, ends bool) {
	w.mu.Lock()
	w.steps = append(w.steps, name)
	w.mu.Unlock()
	if ends {
		w.exit(process.ExitState{Code: -1, Signal: 15, Name: name})
	}
}

// exit ends the worker, once.
func (w *scriptedWorker) exit(state process.ExitState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed, w.state = true, state
		close(w.requests)
		close(w.exited)
	}
}

// next waits for a request of the client's; a command that is not the one is the test's failure.
func (w *scriptedWorker) next(command string) scriptedRequest {
	w.t.Helper()
	select {
	case request, ok := <-w.requests:
		if !ok || request.Cmd != command {
			w.t.Errorf("the client wrote %s, want %s", request.Raw, command)
		}
		return request
	case <-time.After(patience):
		w.t.Errorf("the client did not write %s", command)
		return scriptedRequest{}
	}
}

// say writes one line to the client.
func (w *scriptedWorker) say(format string, arguments ...any) {
	w.handlers.Stdout(fmt.Appendf(nil, format+"\n", arguments...))
}

func (w *scriptedWorker) result(id, fields string) {
	w.say(`{"id":%q,"type":"result","final":true,%s}`, id, fields)
}

func (w *scriptedWorker) token(id string, seq int) {
	w.say(`{"type":"token","id":%q,"seq":%d,"token":"t%d","token_id":%d}`, id, seq, seq, seq)
}

func (w *scriptedWorker) done(id, reason string) {
	w.say(`{"type":"done","id":%q,"final":true,"done":true,"finish_reason":%q,"tokens_generated":1,"metrics":{"prompt_tokens":3}}`, id, reason)
}

// greet answers hello and a load; capabilities are JSON.
func (w *scriptedWorker) greet(capabilities string) {
	w.result(w.next("hello").ID, `"protocol":1,"worker":{"name":"s","version":"1","pid":4711,"engine":"mock"},`+
		`"capabilities":`+capabilities+`,"limits":{"max_line_bytes":1000000,"max_inflight":64},"events":[]`)
}

func (w *scriptedWorker) load() scriptedRequest {
	request := w.next("load")
	w.result(request.ID, loadedFields)
	return request
}

// quit answers quit and exits.
func (w *scriptedWorker) quit() {
	for request := range w.requests {
		if request.Cmd == "quit" {
			w.result(request.ID, `"ok":true`)
			w.exit(process.ExitState{})
		}
	}
}

// scripted makes Start run scripts in memory, one for each process; the last is for all others.
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

const windows = `{"window":true}`

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

// await fails a test that would wait for ever.
func await(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	if !within(patience, done) {
		t.Fatalf("%s did not come", what)
	}
}

func deadlined(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
