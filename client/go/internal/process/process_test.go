//go:build linux || darwin

package process

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/workertest"
)

const patience = workertest.Patience

// output collects the bytes that a process writes.
type output struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

func (o *output) take(chunk []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes.Write(chunk)
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes.String()
}

// start starts a shell with a script.
func start(t *testing.T, script string, handlers Handlers) (*Process, *output) {
	t.Helper()
	stdout := new(output)
	if handlers.Stdout == nil {
		handlers.Stdout = stdout.take
	}
	handlers.Stderr = func([]byte) {}
	p, err := Start(Command{Args: []string{"/bin/sh", "-c", script}}, handlers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill(); <-p.Exited() })
	return p, stdout
}

func await(t *testing.T, event string, closed <-chan struct{}) {
	t.Helper()
	workertest.Await(t, event, closed)
}

func TestWrittenBytesArriveCompleteAndInOrder(t *testing.T) {
	p, stdout := start(t, "cat", Handlers{})
	var want strings.Builder
	for i := range 1000 {
		line := strings.Repeat(string(rune('a'+i%26)), 500) + "\n"
		want.WriteString(line)
		p.Write([]byte(line))
	}
	for began := time.Now(); len(stdout.text()) < want.Len() && time.Since(began) < patience; {
	}
	p.CloseStdin()
	await(t, "the exit", p.Exited())
	if stdout.text() != want.String() || p.ExitState().Code != 0 {
		t.Errorf("%d of %d bytes came back, exit %+v", len(stdout.text()), want.Len(), p.ExitState())
	}
}

func TestAWriteNeverWaitsForAChildThatDoesNotRead(t *testing.T) {
	p, _ := start(t, "sleep 600", Handlers{})
	for range 100 {
		p.Write(make([]byte, 1<<16))
	}
	p.CloseStdin() // during a write that blocks
	p.Kill()
	await(t, "the exit", p.Exited())
	if state := p.ExitState(); state.Signal != 9 || state.Code != -1 {
		t.Errorf("the exit state is %+v", state)
	}
}

func TestStdinBrokenIsCalledForAChildThatClosedItsStdin(t *testing.T) {
	broken := make(chan struct{})
	p, _ := start(t, "exec <&-; sleep 600", Handlers{StdinBroken: func() { close(broken) }})
	p.Write([]byte("x"))
	for {
		select {
		case <-broken:
			return
		case <-time.After(10 * time.Millisecond): // the shell may not have closed its stdin yet
			p.Write([]byte("x"))
		}
	}
}

func TestAllOutputIsHandedOnBeforeExited(t *testing.T) {
	p, stdout := start(t, "printf %70000d 7; exit 3", Handlers{})
	await(t, "the exit", p.Exited())
	if len(stdout.text()) != 70000 || p.ExitState().Code != 3 {
		t.Errorf("%d bytes were handed on, exit %+v", len(stdout.text()), p.ExitState())
	}
}

func TestNoSignalIsSentAfterTheExit(t *testing.T) {
	p, _ := start(t, "exit 0", Handlers{})
	await(t, "the exit", p.Exited())
	p.mu.Lock()
	reaped := p.reaped
	p.mu.Unlock()
	if !reaped {
		t.Error("the process has exited and may still be signalled")
	}
	p.signal(func(group) { t.Error("a reaped process was signalled") })
}
