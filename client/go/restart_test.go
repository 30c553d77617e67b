package mlxwire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// slow is a policy that restarts later than any test ends.
var slow = RestartPolicy{MaxRestarts: 3, Window: time.Hour, BackoffMin: time.Hour, BackoffMax: time.Hour}

// promptPolicy returns a policy that restarts at once.
func promptPolicy(restarts int) RestartPolicy {
	return RestartPolicy{MaxRestarts: restarts, Window: time.Hour, BackoffMin: 1, BackoffMax: 1}
}

func TestARestartLoadsTheModelAgainAndRepeatsNoRequest(t *testing.T) {
	reloaded := make(chan scriptedRequest, 1)
	worker, err := Start(deadlined(t), WithRestart(promptPolicy(3)), scripted(t,
		func(w *scriptedWorker) {
			w.greet(windows)
			w.load()
			w.next("generate")
			w.exit(crash)
		},
		func(w *scriptedWorker) {
			w.greet(windows)
			reloaded <- w.load()
			request := w.next("generate")
			if request.Prompt != "second" {
				t.Errorf("the new process received the prompt %q", request.Prompt)
			}
			w.token(request.ID, 0)
			w.done(request.ID, "stop")
			w.quit()
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	model, err := worker.Load(deadlined(t), "m", WithAdapter("a"))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range model.Generate(deadlined(t), "first") {
		if !errors.Is(err, ErrWorkerCrashed) {
			t.Errorf("the request in flight failed with %v", err)
		}
	}
	for token, err := range model.Generate(deadlined(t), "second") {
		if err != nil || token.Text != "t0" {
			t.Errorf("the next request gave %+v, %v", token, err)
		}
	}
	if load := <-reloaded; load.Path != "m" || load.Adapter != "a" {
		t.Errorf("the client loaded %s again", load.Raw)
	}
}

func TestEventsTellOfARestartInTheirOrder(t *testing.T) {
	events := make(chan Event, 16)
	worker, err := Start(deadlined(t), WithRestart(promptPolicy(1)), WithOnEvent(func(e Event) { events <- e }),
		scripted(t, func(w *scriptedWorker) {
			w.greet(windows)
			w.handlers.Stderr([]byte("the last words"))
			w.exit(crash)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	await(t, "the verdict", worker.Done())
	var kinds []EventKind
	var last Event
	for last.Kind != EventGaveUp {
		last = <-events
		kinds = append(kinds, last.Kind)
	}
	want := []EventKind{
		EventStarted, EventReady, EventCrashed, EventRestarting,
		EventStarted, EventReady, EventCrashed, EventGaveUp,
	}
	if !slices.Equal(kinds, want) {
		t.Errorf("the events are %v, want %v", kinds, want)
	}
	var own *Error
	if !errors.As(worker.Err(), &own) || own.Code != ErrWorkerCrashed || own.Retryable ||
		own.Stderr != "the last words" || !errors.Is(last.Err, ErrWorkerCrashed) {
		t.Errorf("the worker was given up with %+v", worker.Err())
	}
}

func TestRequestsWaitForTheNextProcess(t *testing.T) {
	crashed := make(chan struct{})
	goOn := make(chan struct{})
	worker, err := Start(deadlined(t), WithRestart(promptPolicy(3)),
		WithOnEvent(func(e Event) {
			if e.Kind == EventCrashed {
				close(crashed)
			}
		}),
		scripted(t,
			func(w *scriptedWorker) { w.greet(windows); w.load(); w.next("generate"); w.exit(crash) },
			func(w *scriptedWorker) { <-goOn; healthy(w) }))
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	model, err := worker.Load(deadlined(t), "m")
	if err != nil {
		t.Fatal(err)
	}
	for range model.Generate(deadlined(t), "p") {
	}
	await(t, "the crash", crashed)
	ctx, cancel := context.WithCancel(deadlined(t))
	cancel()
	if _, err := model.Info(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a request whose context had ended gave %v", err)
	}
	close(goOn)
	for _, err := range model.Generate(deadlined(t), "p") {
		if err != nil {
			t.Errorf("a request that waited gave %v", err)
		}
	}
}

func TestAFailedReloadIsAFailedStart(t *testing.T) {
	loaded := make(chan struct{})
	worker, err := Start(deadlined(t), WithRestart(promptPolicy(3)), scripted(t,
		func(w *scriptedWorker) { w.greet(windows); w.load(); <-loaded; w.exit(crash) },
		func(w *scriptedWorker) {
			w.greet(windows)
			w.fails(w.next("load").ID, "out_of_memory")
			w.quit()
		},
		healthy))
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	first := worker.supervisor.last()
	model, err := worker.Load(deadlined(t), "m")
	if err != nil {
		t.Fatal(err)
	}
	close(loaded)
	await(t, "the crash", first.gone)
	for _, err := range model.Generate(deadlined(t), "p") {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestAReloadOfAMissingModelIsNotTriedAgain(t *testing.T) {
	loaded := make(chan struct{})
	worker, err := Start(deadlined(t), WithRestart(promptPolicy(100)), scripted(t,
		func(w *scriptedWorker) { w.greet(windows); w.load(); <-loaded; w.exit(crash) },
		func(w *scriptedWorker) {
			w.greet(windows)
			w.fails(w.next("load").ID, "model_not_found")
			w.quit()
		},
		func(*scriptedWorker) { t.Error("the client started the worker again") }))
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	if _, err := worker.Load(deadlined(t), "m"); err != nil {
		t.Fatal(err)
	}
	close(loaded)
	await(t, "the verdict", worker.Done())
	if err := worker.Err(); !errors.Is(err, ErrWorkerCrashed) || !strings.Contains(err.Error(), "is given up") {
		t.Errorf("the worker was given up with %v", err)
	}
}

func TestCloseEndsARestartThatWaits(t *testing.T) {
	restarting := make(chan struct{})
	worker, err := Start(deadlined(t), WithRestart(slow),
		WithOnEvent(func(e Event) {
			if e.Kind == EventRestarting {
				close(restarting)
			}
		}),
		scripted(t, func(w *scriptedWorker) { w.greet(windows); w.exit(crash) }))
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the restart", restarting)
	if err := worker.Close(); err != nil {
		t.Error(err)
	}
	await(t, "the worker's end", worker.Done())
}

func TestAListenerMayCloseTheWorker(t *testing.T) {
	closed := make(chan struct{})
	ready := make(chan struct{})
	var worker *Worker
	worker, err := Start(deadlined(t), WithRestart(slow),
		WithOnEvent(func(e Event) {
			if e.Kind == EventCrashed {
				<-ready
				worker.Close()
				close(closed)
			}
		}),
		scripted(t, func(w *scriptedWorker) { w.greet(windows); w.exit(crash) }))
	if err != nil {
		t.Fatal(err)
	}
	close(ready)
	await(t, "the close", closed)
}

func TestAPolicyCountsCrashesInASlidingWindow(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	history := crashHistory{policy: RestartPolicy{
		MaxRestarts: 2, Window: 10 * time.Second, BackoffMin: time.Second, BackoffMax: 3 * time.Second, Jitter: 0.5,
	}}
	for _, c := range []struct {
		seconds int
		random  float64
		want    string
	}{
		{0, 0.5, "1s 1 true"},
		{1, 0.5, "2s 2 true"},
		{2, 0.5, "0s 3 false"},
		{11, 0, "1s 2 true"},   // 0 and 1 have left the window; the jitter takes half
		{30, 1, "1.5s 1 true"}, // all have left; the jitter adds half
		{31, 0.5, "2s 2 true"},
	} {
		wait, restarts, ok := history.crashed(at(c.seconds), c.random, false)
		if got := fmt.Sprint(wait, restarts, ok); got != c.want {
			t.Errorf("after %d s: %s, want %s", c.seconds, got, c.want)
		}
	}
}

func TestTheBackoffStaysBelowItsBound(t *testing.T) {
	history := crashHistory{policy: RestartPolicy{
		MaxRestarts: 5000, Window: time.Hour, BackoffMin: time.Millisecond, BackoffMax: time.Second,
	}}
	for range 1100 {
		if wait, _, _ := history.crashed(time.Unix(0, 0), 0.5, false); wait > time.Second || wait < time.Millisecond {
			t.Fatalf("the wait is %v", wait)
		}
	}
}
