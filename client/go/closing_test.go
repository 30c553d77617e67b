package mlxwire

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/process"
	"github.com/mlxwire/mlxwire/client/go/internal/workertest"
)

// hasty are short limits for workers in memory.
var hasty = ShutdownLimits{
	Quit: 20 * time.Millisecond, CloseStdin: 20 * time.Millisecond,
	Terminate: 20 * time.Millisecond, Kill: patience,
}

func TestTheLadderGoesDownStepByStep(t *testing.T) {
	w := newScriptedWorker(t, process.Handlers{})
	w.stubborn = true
	asked := false
	if !endProcess(w, hasty, func() { asked = true }, func() int { return 3 }) || !asked {
		t.Error("the worker did not end, or was not asked to quit")
	}
	want := []string{"close stdin", "close stdin", "terminate", "kill"}
	if !slices.Equal(w.steps, want) {
		t.Errorf("the ladder had the steps %q, want %q", w.steps, want)
	}
}

func TestTheLadderBeginsAtTerminateForAWorkerThatDoesNotRead(t *testing.T) {
	w := newScriptedWorker(t, process.Handlers{})
	if !endProcess(w, hasty, nil, func() int { return 3 }) || !slices.Equal(w.steps, []string{"close stdin", "terminate"}) {
		t.Errorf("the ladder had the steps %q", w.steps)
	}
}

func TestTheLadderWaitsForAWorkerThatStillSendsFinals(t *testing.T) {
	for _, counts := range [][]int{{4, 4}, {4, 0}, {4, 3, 3, 2, 2, 2}, {4, 3, 3, 0}} {
		w := newScriptedWorker(t, process.Handlers{})
		inFlight := func() int {
			if len(w.steps) > 0 || len(counts) == 0 {
				t.Fatalf("the ladder had the steps %q, with the counts %v left", w.steps, counts)
			}
			left := counts[0]
			counts = counts[1:]
			return left
		}
		if !endProcess(w, hasty, func() {}, inFlight) || len(counts) > 0 {
			t.Errorf("the ladder had the steps %q, with the counts %v left", w.steps, counts)
		}
	}
}

func TestTheLadderEndsAWorkerThatSendsFinalsForEver(t *testing.T) {
	w := newScriptedWorker(t, process.Handlers{})
	looks := 0
	inFlight := func() int { looks++; return 1000 - looks }
	if !endProcess(w, hasty, func() {}, inFlight) || looks != 2*mostTurns {
		t.Errorf("the ladder looked %d times, and had the steps %q", looks, w.steps)
	}
}

func TestCloseReportsAWorkerThatSurvivesKill(t *testing.T) {
	immortal := make(chan *scriptedWorker, 1)
	worker, err := Start(deadlined(t), scripted(t, func(w *scriptedWorker) {
		w.immortal = true
		w.greet(windows)
		immortal <- w
	}), WithShutdownLimits(ShutdownLimits{Quit: 1, CloseStdin: 1, Terminate: 1, Kill: 1}))
	if err != nil {
		t.Fatal(err)
	}
	err = worker.Close()
	if !errors.Is(err, ErrDrainTimeout) || !strings.Contains(err.Error(), "pid 4711") {
		t.Errorf("Close gave %v", err)
	}
	await(t, "the worker's end", worker.Done())
	(<-immortal).exit(crash) // lets the goroutines of the test end
}

func TestManyGoroutinesMayCloseAWorker(t *testing.T) {
	worker, _ := startModel(t, windows, func(*scriptedWorker) {})
	var group sync.WaitGroup
	for range 8 {
		workertest.Go(&group, func() {
			if err := worker.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if err := worker.Close(); err != nil || !errors.Is(worker.Err(), ErrShuttingDown) {
		t.Errorf("closing again gave %v; the worker's error is %v", err, worker.Err())
	}
	if _, err := worker.Metrics(deadlined(t)); !errors.Is(err, ErrShuttingDown) {
		t.Errorf("a request after the close gave %v", err)
	}
}

func TestAStreamOfAClosedWorkerEndsAsCancelled(t *testing.T) {
	worker, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("generate").ID
		w.token(id, 0)
		quit := w.next("quit")
		w.done(id, "cancelled")
		w.result(quit.ID, `"ok":true`)
		w.exit(process.ExitState{})
	})
	var last error
	for _, err := range model.Generate(deadlined(t), "p") {
		if last = err; err == nil {
			go worker.Close()
		}
	}
	if !errors.Is(last, ErrCancelled) {
		t.Errorf("the stream ended with %v, want cancelled", last)
	}
}

func TestAClosedModelIsVoidAndMayBeClosedAgain(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		w.result(w.next("unload").ID, `"ok":true`)
	})
	if err := errors.Join(model.Close(), model.Close()); err != nil {
		t.Error(err)
	}
	if _, err := model.Info(deadlined(t)); !errors.Is(err, ErrModelNotLoaded) {
		t.Errorf("info of a closed model gave %v", err)
	}
}

func TestALoadThatFailsItsChecksKeepsTheEarlierModel(t *testing.T) {
	worker, model := startModel(t, windows, func(w *scriptedWorker) {
		w.fails(w.next("load").ID, "model_not_found")
	})
	if _, err := worker.Load(deadlined(t), "nowhere"); !errors.Is(err, ErrModelNotFound) {
		t.Errorf("the load gave %v, want model_not_found", err)
	}
	if err := model.check(); err != nil {
		t.Error(err)
	}
}

func TestClosingTheModelOfADeadWorkerIsNoError(t *testing.T) {
	for name, end := range map[string]func(*Worker){
		"a crash": func(w *Worker) { script(w).exit(crash) },
		"a close": func(w *Worker) { w.Close() },
	} {
		worker, model := startModel(t, windows, func(*scriptedWorker) {})
		end(worker)
		await(t, "the worker's end", worker.Done())
		if err := model.Close(); err != nil {
			t.Errorf("after %s, closing the model gave %v", name, err)
		}
	}
}

func TestCloseReturnsTheErrorOfAnUnload(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) { w.fails(w.next("unload").ID, "internal") })
	if err := model.Close(); !errors.Is(err, ErrInternal) {
		t.Errorf("Close gave %v, want internal", err)
	}
}

func TestALaterLoadMakesTheEarlierModelVoid(t *testing.T) {
	worker, first := startModel(t, windows, func(w *scriptedWorker) {
		w.load()
		w.done(w.next("generate").ID, "stop")
	})
	second, err := worker.Load(deadlined(t), "other")
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	_, generated := collect(first.Generate(deadlined(t), "p"))
	_, classified := first.Classify(deadlined(t), []string{"p"})
	_, told := first.Info(deadlined(t))
	_, counted := first.Cache().Stats(deadlined(t))
	for _, err := range []error{generated, classified, told, counted} {
		if !errors.Is(err, ErrModelNotLoaded) {
			t.Errorf("a request of the replaced model gave %v", err)
		}
	}
	if _, err := collect(second.Generate(deadlined(t), "p")); err != nil {
		t.Errorf("a request of the new model gave %v", err)
	}
}
