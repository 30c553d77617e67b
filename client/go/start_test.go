package mlxwire

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/process"
)

// startFails starts a worker that must fail to start, waits until its process has ended, and returns
// the error.
func startFails(t *testing.T, script func(*scriptedWorker), options ...StartOption) *Error {
	t.Helper()
	gone := make(chan struct{})
	worker, err := Start(deadlined(t), append(options, scripted(t, func(w *scriptedWorker) {
		script(w)
		<-w.exited
		close(gone)
	}))...)
	if err == nil {
		worker.Close()
		t.Fatal("the worker started")
	}
	await(t, "the process' end", gone)
	var own *Error
	if !errors.As(err, &own) {
		t.Fatalf("the start failed with %v, which is not an *Error", err)
	}
	return own
}

func TestAProgramThatExitsAtOnceFailsTheHandshakeWithItsOutput(t *testing.T) {
	err := startFails(t, func(w *scriptedWorker) {
		w.say("usage: something else")
		w.handlers.Stderr([]byte("no such option\n"))
		w.exit(process.ExitState{Code: 2})
	})
	if err.Code != ErrHandshakeFailed || err.Retryable || err.Exit.Code != 2 || err.Stderr != "no such option\n" ||
		!strings.Contains(err.Message, "usage: something else") ||
		!strings.Contains(err.Message, "exited with code 2") || !strings.Contains(err.Message, "pip install") {
		t.Errorf("the start failed with %+v", err)
	}
}

func TestAProgramThatDoesNotAnswerHelloFailsTheHandshake(t *testing.T) {
	err := startFails(t, func(w *scriptedWorker) {
		w.say("Welcome!")
		w.next("hello")
	}, WithStartTimeout(50*time.Millisecond))
	if err.Code != ErrHandshakeFailed || !strings.Contains(err.Message, "Welcome!") {
		t.Errorf("the start failed with %+v", err)
	}
}

func TestAWorkerOfTheOlderWireIsRecognized(t *testing.T) {
	err := startFails(t, func(w *scriptedWorker) {
		w.next("hello")
		w.say(`{"error":"hello: unknown command"}`)
	})
	if err.Code != ErrHandshakeFailed || !strings.Contains(err.Message, "older") {
		t.Errorf("the start failed with %+v", err)
	}
}

func TestARefusedHelloReturnsTheWorkersError(t *testing.T) {
	for _, code := range []Code{ErrUnsupportedProtocol, ErrUnsupportedCapability} {
		err := startFails(t, func(w *scriptedWorker) {
			w.say(`{"id":%q,"type":"error","final":true,"error":{"code":%q,"message":"m","retryable":false,"data":{"missing":["x"]}}}`,
				w.next("hello").ID, string(code))
		}, WithRequire("x"))
		if err.Code != code || err.Data["missing"] == nil {
			t.Errorf("the start failed with %+v", err)
		}
	}
}

func TestAnAnswerToHelloOfAnotherVersionFailsTheHandshake(t *testing.T) {
	err := startFails(t, func(w *scriptedWorker) {
		w.result(w.next("hello").ID, `"protocol":2`)
	})
	if err.Code != ErrHandshakeFailed || !strings.Contains(err.Message, "protocol 2") {
		t.Errorf("the start failed with %+v", err)
	}
}

func TestAnAnswerToHelloThatLacksAFieldFailsTheHandshake(t *testing.T) {
	err := startFails(t, func(w *scriptedWorker) {
		w.result(w.next("hello").ID, `"protocol":1,"capabilities":{}`)
	})
	if err.Code != ErrHandshakeFailed || !strings.Contains(err.Message, "worker") {
		t.Errorf("the start failed with %+v", err)
	}
}

func TestTheEndOfTheContextDuringTheStartEndsTheProcess(t *testing.T) {
	ctx, cancel := context.WithCancel(deadlined(t))
	defer cancel()
	gone := make(chan struct{})
	_, err := Start(ctx, scripted(t, func(w *scriptedWorker) {
		w.next("hello")
		cancel()
		<-w.exited
		close(gone)
	}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Start gave %v", err)
	}
	await(t, "the process' end", gone)
}

func TestADeadlineOfTheContextDuringTheStartIsItsOwnError(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := Start(ctx, scripted(t, func(w *scriptedWorker) { w.next("hello") }))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Start gave %v", err)
	}
}

func TestStderrIsCopiedToTheHost(t *testing.T) {
	var copied strings.Builder
	worker, _ := startModel(t, windows, func(*scriptedWorker) {}, WithStderr(&copied))
	script(worker).handlers.Stderr([]byte("half a"))
	script(worker).handlers.Stderr([]byte(" line"))
	if copied.String() != "half a line" || worker.Stderr() != copied.String() {
		t.Errorf("the host received %q, the client kept %q", copied.String(), worker.Stderr())
	}
}

func TestAMissingProgramIsASpawnFailure(t *testing.T) {
	_, err := Start(deadlined(t), WithCommand("/nonexistent/worker"))
	if !errors.Is(err, ErrSpawnFailed) || !strings.Contains(err.Error(), "pip install") {
		t.Errorf("Start gave %v", err)
	}
}

func TestAWrongStartOptionIsRefusedByItsName(t *testing.T) {
	for field, option := range map[string]StartOption{
		"window": WithWindow(0), "buffer_bytes": WithBufferBytes(0), "start_timeout": WithStartTimeout(0),
		"idle_timeout": WithIdleTimeout(-1), "drain_timeout": WithDrainTimeout(-1), "env": WithEnv("A=1", "secret"),
	} {
		_, err := Start(deadlined(t), option, scripted(t, func(*scriptedWorker) { t.Errorf("with a wrong %s the client started a process", field) }))
		var own *Error
		if !errors.As(err, &own) || own.Code != ErrInvalidParams || own.Field() != field || strings.Contains(own.Message, "secret") {
			t.Errorf("a wrong %s gave %v", field, err)
		}
	}
}

func TestANilLoggerLogsNothing(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		w.handlers.Stderr([]byte("a line\n"))
		w.done(w.next("generate").ID, "stop")
	}, WithLogger(nil))
	if _, err := collect(model.Generate(deadlined(t), "p")); err != nil {
		t.Error(err)
	}
}

func TestAMissingWorkingDirectoryIsReportedAsSuch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/nonexistent/folder", file} {
		_, err := Start(deadlined(t), WithCommand(os.Args[0], "-test.run=^$"), WithDir(dir))
		if !errors.Is(err, ErrSpawnFailed) || !strings.Contains(err.Error(), dir) ||
			!strings.Contains(err.Error(), "WithDir") || strings.Contains(err.Error(), "pip install") {
			t.Errorf("Start gave %v", err)
		}
	}
	_, err := Start(deadlined(t), WithCommand("/nonexistent/worker"), WithDir(t.TempDir()))
	if !errors.Is(err, ErrSpawnFailed) || !strings.Contains(err.Error(), "/nonexistent/worker") {
		t.Errorf("Start gave %v", err)
	}
}

func TestAWorkerKeepsItsAnswerToHello(t *testing.T) {
	worker, model := startModel(t, `{"window":true,"hub":false,"none":null,"zero":0}`, func(*scriptedWorker) {})
	caps := worker.Capabilities()
	if !caps.Has("window") || caps.Has("hub") || caps.Has("none") || caps.Has("zero") || caps.Has("unheard of") {
		t.Errorf("the capabilities are %v", caps)
	}
	if worker.Hello().Worker.Name != "scripted" || worker.PID() != 4711 || model.Loaded().ModelType != "scripted" {
		t.Errorf("hello is %+v, the model %+v", worker.Hello(), model.Loaded())
	}
}

func TestHeartbeatsReachTheHost(t *testing.T) {
	beats := make(chan Heartbeat, 1)
	_, _ = startModel(t, windows, func(w *scriptedWorker) {
		w.say(`{"id":null,"type":"event","event":"of_tomorrow","data":{}}`)
		w.say(heartbeat)
	}, WithHeartbeat(func(beat Heartbeat) { beats <- beat }))
	select {
	case beat := <-beats:
		if beat.Phase != "decode" || beat.Steps != 3 || beat.LastStepSeconds != 0.5 {
			t.Errorf("the heartbeat is %+v", beat)
		}
	case <-time.After(patience):
		t.Error("no heartbeat was delivered")
	}
}
