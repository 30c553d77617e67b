package mlxwire

import (
	"errors"
	"strings"
	"testing"
)

// These tests compare what an error tells the host to do with and without a supervisor.

// failure returns the text of the error of a request whose worker follows the script.
func failure(t *testing.T, script func(*scriptedWorker), silent bool, options ...StartOption) string {
	t.Helper()
	worker, model := startModel(t, windows, func(w *scriptedWorker) {
		w.next("generate")
		script(w)
	}, options...)
	if silent {
		becomeImpatient(worker)
	}
	_, err := collect(model.Generate(deadlined(t), "p"))
	if err == nil {
		t.Fatal("the request did not fail")
	}
	return err.Error()
}

func TestAdviceDependsOnWhetherTheClientRestartsTheWorker(t *testing.T) {
	dies := func(w *scriptedWorker) { w.exit(crash) }
	offends := func(w *scriptedWorker) { w.say("this is no message") }
	silent := func(w *scriptedWorker) { w.next("cancel") }
	for name, c := range map[string]struct {
		script func(*scriptedWorker)
		silent bool
		alone  string
		kept   string
	}{
		"a crash":    {dies, false, startAnother, anotherComes},
		"an offence": {offends, false, startAnother, anotherComes},
		"silence":    {silent, true, "close it and start another one", "WithLiveness"},
	} {
		if text := failure(t, c.script, c.silent); !strings.Contains(text, c.alone) || strings.Contains(text, c.kept) {
			t.Errorf("%s, without a supervisor: %s", name, text)
		}
		if text := failure(t, c.script, c.silent, WithRestart(slow)); !strings.Contains(text, c.kept) || strings.Contains(text, c.alone) {
			t.Errorf("%s, with a supervisor: %s", name, text)
		}
	}
}

func TestWithoutLivenessTheAdviceIsToCloseAWorkerThatHangs(t *testing.T) {
	text := failure(t, func(w *scriptedWorker) { w.next("cancel") }, true,
		WithRestart(slow), WithLiveness(LivenessLimits{Silence: NoLimit, Step: NoLimit}))
	if !strings.Contains(text, "close it and start another one") {
		t.Error(text)
	}
}

func TestTheErrorOfAWorkerThatIsGivenUpPromisesNoRestart(t *testing.T) {
	worker, err := Start(deadlined(t), WithRestart(promptPolicy(1)), scripted(t, func(w *scriptedWorker) {
		w.greet(windows)
		w.exit(crash)
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	await(t, "the verdict", worker.Done())
	if text := worker.Err().Error(); strings.Contains(text, anotherComes) || !strings.Contains(text, "exited with code 139") {
		t.Error(text)
	}
	_, one := worker.Metrics(deadlined(t))
	_, other := worker.Metrics(deadlined(t))
	if !errors.Is(one, ErrWorkerCrashed) || one == other {
		t.Errorf("two requests failed with the same error value: %v", one)
	}
	if err := worker.Close(); err != nil || !errors.Is(worker.Err(), ErrWorkerCrashed) {
		t.Errorf("closing changed the worker's error to %v, %v", worker.Err(), err)
	}
}
