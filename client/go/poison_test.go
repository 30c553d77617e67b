package mlxwire

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/mlxwire/mlxwire/client/go/internal/process"
	"github.com/mlxwire/mlxwire/client/go/internal/wire"
	"github.com/mlxwire/mlxwire/client/go/internal/workertest"
)

var segfault = process.ExitState{Code: -1, Signal: 11, Name: "segmentation fault"}

// mortal returns the script of a worker that dies when count generates are in flight.
func mortal(count int) func(*scriptedWorker) {
	return func(w *scriptedWorker) {
		w.greet(windows)
		w.load()
		for range count {
			w.next("generate")
		}
		w.exit(segfault)
	}
}

// dying sends prompts at the same time and returns the errors with which they fail.
func dying(t *testing.T, ctx context.Context, model *Model, prompts ...string) []*Error {
	t.Helper()
	failures := make([]*Error, len(prompts))
	var asking sync.WaitGroup
	for i, prompt := range prompts {
		workertest.Go(&asking, func() {
			for _, err := range model.Generate(ctx, prompt) {
				if !errors.As(err, &failures[i]) {
					t.Errorf("%s failed with %v, which is not an *Error", prompt, err)
				}
			}
		})
	}
	asking.Wait()
	return failures
}

func TestTheOnlyRequestAtTwoCrashesInARowIsNotRetryable(t *testing.T) {
	rounds := []struct {
		prompts []string
		want    string // for each request: InFlight and Retryable of its error
	}{
		{[]string{"poison"}, "[1 true]"},
		{[]string{"poison"}, "[1 false]"},
		{[]string{"poison", "poison"}, "[2 true 2 true]"},
		{[]string{"poison"}, "[1 true]"},
		{[]string{"other"}, "[1 true]"},
		{[]string{"poison"}, "[1 true]"},
	}
	var scripts []func(*scriptedWorker)
	for _, round := range rounds {
		scripts = append(scripts, mortal(len(round.prompts)))
	}
	worker, err := Start(deadlined(t), WithRestart(promptPolicy(99)), scripted(t, append(scripts, healthy)...))
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	model, err := worker.Load(deadlined(t), "m")
	if err != nil {
		t.Fatal(err)
	}
	for i, round := range rounds {
		var told []any
		for _, failure := range dying(t, deadlined(t), model, round.prompts...) {
			told = append(told, failure.InFlight, failure.Retryable)
		}
		if got := fmt.Sprint(told); got != round.want {
			t.Errorf("round %d, prompts %v: %s, want %s", i, round.prompts, got, round.want)
		}
	}
	if text := read(t, model.Generate(deadlined(t), "harmless")); text != "t0" {
		t.Errorf("the next request returned %q", text)
	}
}

func TestAPendingCancelIsNotCountedAsInFlight(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		w.next("generate")
		w.next("cancel")
		w.exit(segfault)
	})
	stream, err := model.GenerateStream(deadlined(t), "a")
	if err != nil {
		t.Fatal(err)
	}
	model.worker.supervisor.last().tell(wire.Cancel, cancelFields{Target: &stream.replies.request.id})
	for _, err := range stream.Tokens() {
		var own *Error
		if !errors.As(err, &own) || own.InFlight != 1 {
			t.Errorf("the stream failed with %+v", err)
		}
	}
}

func TestTheErrorOfAWorkerThatIsGivenUpCountsCrashesWithRequestsInFlight(t *testing.T) {
	worker, err := Start(deadlined(t), WithRestart(promptPolicy(2)), scripted(t,
		mortal(1),
		func(w *scriptedWorker) { w.greet(windows); w.next("load"); w.exit(segfault) },
		mortal(2)))
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	ctx := deadlined(t)
	model, err := worker.Load(ctx, "m")
	if err != nil {
		t.Fatal(err)
	}
	dying(t, ctx, model, "a")
	dying(t, ctx, model, "b", "c")
	await(t, "the verdict", worker.Done())
	var verdict *Error
	if !errors.As(worker.Err(), &verdict) || verdict.InFlight != 2 || verdict.Retryable ||
		!strings.Contains(verdict.Message, "crashed 3 times within 1h0m0s, 2 of them with requests in flight") {
		t.Errorf("the worker was given up with %+v", verdict)
	}
}
