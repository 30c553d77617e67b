package mlxwire

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/process"
	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// These tests follow a connection whose worker ends, breaks a rule or is closed.

func TestAWorkerThatHasFailedIsNotAskedToQuit(t *testing.T) {
	worker, _ := startModel(t, windows, func(w *scriptedWorker) {
		if request, ok := <-w.requests; ok {
			t.Errorf("the client wrote %s to a worker that had failed", request.Raw)
		}
	}, WithShutdownLimits(ShutdownLimits{Quit: patience, CloseStdin: patience, Terminate: patience, Kill: patience}))
	worker.supervisor.last().fail(hangs("hangs", ""))
	if _, err := worker.Metrics(deadlined(t)); !errors.Is(err, ErrWorkerCrashed) {
		t.Errorf("the next request gave %v", err)
	}
	if err := worker.Close(); err != nil {
		t.Error(err)
	}
	if steps := script(worker).stepsTaken(); !slices.Equal(steps, []string{"close stdin", "terminate"}) {
		t.Errorf("the client took the steps %q", steps)
	}
}

func TestNoRequestIsSentAfterQuit(t *testing.T) {
	quitting, goOn := make(chan struct{}), make(chan struct{})
	worker, model := startModel(t, windows, func(w *scriptedWorker) {
		quit := w.next("quit")
		close(quitting)
		<-goOn
		w.result(quit.ID, `"ok":true`)
		w.exit(process.ExitState{})
		if request, ok := <-w.requests; ok {
			t.Errorf("the client wrote %s after quit", request.Raw)
		}
	}, WithShutdownLimits(ShutdownLimits{Quit: patience, Kill: patience}))
	closed := make(chan error)
	go func() { closed <- worker.Close() }()
	await(t, "the quit", quitting)
	c := worker.supervisor.last()
	if _, err := c.ask(deadlined(t), wire.Info, noFields{}); !errors.Is(err, ErrShuttingDown) {
		t.Errorf("a request during the close gave %v", err)
	}
	close(goOn)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := model.Info(deadlined(t)); !errors.Is(err, ErrShuttingDown) {
		t.Errorf("a request after the close gave %v", err)
	}
}

func TestAConnectionKeepsItsFirstFailure(t *testing.T) {
	worker, _ := startModel(t, windows, func(w *scriptedWorker) { w.say("this is no message") })
	await(t, "the worker's end", worker.Done())
	c := worker.supervisor.last()
	c.sayQuit()
	c.fail(closedByHost())
	if !errors.Is(c.cause(), ErrProtocolViolation) || !errors.Is(worker.Err(), ErrProtocolViolation) {
		t.Errorf("the connection failed with %v, the worker with %v", c.cause(), worker.Err())
	}
}

func TestOutputAfterABrokenRuleIsDropped(t *testing.T) {
	worker, _ := startModel(t, windows, func(*scriptedWorker) {}, WithHeartbeat(func(Heartbeat) {}))
	c, w := worker.supervisor.last(), script(worker)
	w.say(heartbeat)
	if c.watchdog.liveness.beat == nil {
		t.Error("the client did not take a heartbeat")
	}
	c.watchdog.liveness.beat = nil
	w.say("this is no message")
	w.say(heartbeat)
	if c.watchdog.liveness.beat != nil {
		t.Error("the client took a heartbeat after the worker had broken a rule")
	}
}

func TestAnyOutputIsASignOfLife(t *testing.T) {
	worker, _ := startModel(t, windows, func(*scriptedWorker) {})
	c := worker.supervisor.last()
	before := c.watchdog.heard.Load()
	script(worker).handlers.Stdout([]byte(`{"ty`)) // a part of a line counts, too
	if c.watchdog.heard.Load() == before {
		t.Error("the watchdog did not notice the bytes")
	}
}

func TestAWorkerThatClosesItsStdoutIsEnded(t *testing.T) {
	worker, model := startModel(t, windows, func(w *scriptedWorker) {
		w.next("generate")
		w.handlers.Stderr([]byte("redirected"))
		w.handlers.StdoutEnded()
	})
	_, err := collect(model.Generate(deadlined(t), "p"))
	var own *Error
	if !errors.As(err, &own) || own.Code != ErrWorkerCrashed || !strings.Contains(own.Message, "closed its stdout") ||
		own.Stderr != "redirected" {
		t.Errorf("the request ended with %v", err)
	}
	await(t, "the worker's end", worker.Done())
	if steps := script(worker).stepsTaken(); !slices.Contains(steps, "terminate") {
		t.Errorf("the client took the steps %q", steps)
	}
}

func TestTheEndOfStdoutDuringACloseIsNoCrash(t *testing.T) {
	worker, model := startModel(t, windows, func(w *scriptedWorker) {
		w.next("generate")
		w.next("quit")
		w.handlers.StdoutEnded()
	}, WithShutdownLimits(ShutdownLimits{Quit: 2 * lostPipeGrace, Terminate: patience}))
	stream, err := model.GenerateStream(deadlined(t), "p")
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Close(); err != nil {
		t.Error(err)
	}
	if _, err := stream.Text(); !errors.Is(err, ErrCancelled) {
		t.Errorf("the request ended with %v", err)
	}
}

func TestAnUnfinishedLastLineOfStderrIsLogged(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	worker, _ := startModel(t, windows, func(w *scriptedWorker) {
		w.handlers.Stderr([]byte("a line\nlast words"))
		w.exit(crash)
	}, WithLogger(logger))
	await(t, "the worker's end", worker.Done())
	if text := log.String(); !strings.Contains(text, `stderr="a line"`) || !strings.Contains(text, `stderr="last words"`) {
		t.Errorf("the log is %s", text)
	}
}

func TestTheHandshakeHasItsOwnTimeLimit(t *testing.T) {
	worker, err := Start(deadlined(t), WithIdleTimeout(time.Nanosecond), scripted(t, func(w *scriptedWorker) {
		w.greet(windows)
		w.quit()
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheEndOfStdoutAtAnExitIsReportedAsTheExit(t *testing.T) {
	for range 20 {
		_, model := startModel(t, windows, func(w *scriptedWorker) {
			w.next("generate")
			w.handlers.StdoutEnded()
			w.exit(crash)
		})
		_, err := collect(model.Generate(deadlined(t), "p"))
		var own *Error
		if !errors.As(err, &own) || own.Exit == nil || own.Exit.Code != crash.Code {
			t.Fatalf("the request ended with %v", err)
		}
	}
}
