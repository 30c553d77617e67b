package mlxwire

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/mlxwire/mlxwire/client/go/internal/process"
	"github.com/mlxwire/mlxwire/client/go/internal/workertest"
)

// restartable returns the option with which a model outlives a failed load.
func restartable() StartOption { return WithRestart(promptPolicy(3)) }

// generates fails the test if a model does not answer.
func generates(t *testing.T, model *Model) {
	t.Helper()
	stream, err := model.GenerateStream(deadlined(t), "p")
	if err == nil {
		_, err = stream.Text()
	}
	if err != nil {
		t.Error(err)
	}
}

func loadFails(t *testing.T, worker *Worker) {
	t.Helper()
	if _, err := worker.Load(deadlined(t), "other"); !errors.Is(err, ErrModelLoadFailed) {
		t.Errorf("the load ended with %v, want model_load_failed", err)
	}
}

func TestAModelLostByAFailedLoadIsLoadedAgainOnceForAllRequests(t *testing.T) {
	worker, model := startModel(t, windows, func(w *scriptedWorker) {
		w.fails(w.next("load").ID, "model_load_failed")
		w.fails(w.next("info").ID, "model_not_loaded")
		if again := w.load(); again.Path != "m" {
			t.Errorf("the client loaded %s again", again.Raw)
		}
		w.answers(3)
	}, restartable())
	loadFails(t, worker)
	var all sync.WaitGroup
	for range 3 {
		workertest.Go(&all, func() { generates(t, model) })
	}
	all.Wait()
}

func TestAModelThatAFailedLoadLeftInPlaceIsNotLoadedAgain(t *testing.T) {
	worker, model := startModel(t, windows, func(w *scriptedWorker) {
		w.fails(w.next("load").ID, "model_load_failed")
		w.result(w.next("info").ID, loadedFields)
		w.answers(2)
	}, restartable())
	loadFails(t, worker)
	generates(t, model)
	generates(t, model)
}

func TestAFailedReloadIsReportedAndTriedAgainByTheNextRequest(t *testing.T) {
	worker, model := startModel(t, windows, func(w *scriptedWorker) {
		w.fails(w.next("load").ID, "model_load_failed")
		w.fails(w.next("info").ID, "model_not_loaded")
		w.fails(w.next("load").ID, "out_of_memory")
		w.fails(w.next("info").ID, "model_not_loaded")
		w.load()
		w.answers(1)
	}, restartable())
	loadFails(t, worker)
	if _, err := model.GenerateStream(deadlined(t), "p"); !errors.Is(err, ErrOutOfMemory) {
		t.Error(err)
	}
	generates(t, model)
}

// lateCancel cancels a load that then succeeds.
func lateCancel(t *testing.T, worker *Worker, began <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(deadlined(t))
	go func() {
		<-began
		cancel()
	}()
	if _, err := worker.Load(ctx, "other"); !errors.Is(err, context.Canceled) {
		t.Errorf("the load ended with %v, want the context's error", err)
	}
}

func TestTheModelOfALoadCancelledTooLateDoesNotAnswerForTheEarlierModel(t *testing.T) {
	began := make(chan struct{})
	worker, model := startModel(t, windows, func(w *scriptedWorker) {
		load := w.next("load")
		close(began)
		w.next("cancel")
		info := w.next("info")
		w.result(load.ID, loadedFields)
		w.result(info.ID, loadedFields)
		if again := w.load(); again.Path != "m" {
			t.Errorf("the client loaded %s again", again.Raw)
		}
		w.answers(1)
	}, restartable())
	lateCancel(t, worker, began)
	generates(t, model)
}

func TestWithoutRestartALoadCancelledTooLateReplacesTheModel(t *testing.T) {
	began, landed := make(chan struct{}), make(chan struct{})
	worker, model := startModel(t, windows, func(w *scriptedWorker) {
		load := w.next("load")
		close(began)
		w.next("cancel")
		w.result(load.ID, loadedFields)
		close(landed)
	})
	lateCancel(t, worker, began)
	await(t, "the load's end", landed)
	if _, err := model.Info(deadlined(t)); !errors.Is(err, ErrModelNotLoaded) {
		t.Error(err)
	}
}

func TestARequestOfAnEarlierModelWaitsForTheLoadAndIsNotAnsweredByTheNewModel(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	worker, model := startModel(t, windows, func(w *scriptedWorker) {
		load := w.next("load")
		close(began)
		<-finish
		w.result(load.ID, loadedFields)
		request := w.next("quit") // comes next: neither generate nor unload is sent
		w.result(request.ID, `"ok":true`)
		w.exit(process.ExitState{})
	}, restartable())
	var all sync.WaitGroup
	workertest.Go(&all, func() {
		if _, err := worker.Load(deadlined(t), "other"); err != nil {
			t.Error(err)
		}
	})
	await(t, "the load", began)
	workertest.Go(&all, func() {
		if _, err := model.GenerateStream(deadlined(t), "p"); !errors.Is(err, ErrModelNotLoaded) {
			t.Error(err)
		}
	})
	workertest.Go(&all, func() {
		if err := model.Close(); err != nil {
			t.Error(err)
		}
	})
	impatient, cancel := context.WithCancel(deadlined(t))
	cancel()
	if _, err := model.Info(impatient); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(finish)
	all.Wait()
	if err := worker.Close(); err != nil {
		t.Error(err)
	}
}
