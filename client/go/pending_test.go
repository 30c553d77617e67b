package mlxwire

import (
	"context"
	"errors"
	"testing"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// These tests follow requests that their caller leaves.

func TestARequestThatIsLeftManyTimesIsCancelledOnce(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("generate").ID
		w.token(id, 0)
		w.next("cancel")
		w.done(id, "cancelled")
		w.result(w.next("info").ID, loadedFields)
	})
	stream, err := model.GenerateStream(deadlined(t), "p")
	if err != nil {
		t.Fatal(err)
	}
	for range stream.Tokens() {
		break
	}
	for range 2 {
		if err := stream.Close(); err != nil {
			t.Error(err)
		}
	}
	_, _ = model.Info(deadlined(t)) // a cancel would have come before info
}

func TestARequestThatHasEndedIsNotCancelled(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		w.done(w.next("generate").ID, "stop")
		w.result(w.next("info").ID, loadedFields)
	})
	stream, err := model.GenerateStream(deadlined(t), "p")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Text(); err != nil {
		t.Error(err)
	}
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
	_, _ = model.Info(deadlined(t))
}

func TestNoMessageIsKeptForARequestThatWasLeft(t *testing.T) {
	worker, model := startModel(t, windows, func(w *scriptedWorker) { w.next("generate"); w.next("cancel") })
	stream, err := model.GenerateStream(deadlined(t), "p")
	if err != nil {
		t.Fatal(err)
	}
	script(worker).token(stream.ID(), 0)
	stream.replies.leave(closedStream())
	script(worker).token(stream.ID(), 1)
	stream.replies.request.mu.Lock()
	defer stream.replies.request.mu.Unlock()
	if kept := len(stream.replies.incoming); kept != 0 {
		t.Errorf("%d messages are kept for a request that was left", kept)
	}
}

func TestARequestKeepsTheFirstReasonToLeave(t *testing.T) {
	for name, ending := range map[string]func(*scriptedWorker, string){
		"the worker's error": func(w *scriptedWorker, id string) { w.fails(id, "internal") },
		"a malformed end":    func(w *scriptedWorker, id string) { w.say(`{"id":%q,"type":"done","final":true}`, id) },
		"the worker's death": func(w *scriptedWorker, _ string) { w.exit(crash) },
	} {
		cancelled := make(chan struct{})
		_, model := startModel(t, windows, func(w *scriptedWorker) {
			id := w.next("generate").ID
			w.next("cancel")
			close(cancelled)
			ending(w, id)
		})
		ctx, cancel := context.WithCancel(deadlined(t))
		stream, err := model.GenerateStream(ctx, "p")
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		await(t, "the cancel", cancelled)
		if err := stream.Close(); err != nil {
			t.Error(err)
		}
		if _, err := stream.Text(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the stream ended with %v, want the context's error", name, err)
		}
	}
}

func TestTheFinalReplyStopsTheDrainTimer(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("generate").ID
		w.next("cancel")
		w.done(id, "cancelled")
	}, WithDrainTimeout(2*patience))
	stream, err := model.GenerateStream(deadlined(t), "p")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
	request := stream.replies.request
	request.mu.Lock()
	defer request.mu.Unlock()
	if request.drainTimer.Stop() {
		t.Error("the drain timer still runs and would log a warning")
	}
}

func TestProgressWithoutAListenerIsASignOfLife(t *testing.T) {
	worker, model := startModel(t, windows, func(w *scriptedWorker) { w.next("generate") })
	stream, err := model.GenerateStream(deadlined(t), "p")
	if err != nil {
		t.Fatal(err)
	}
	script(worker).say(`{"id":%q,"type":"progress","stage":"prefill","done":1,"total":2}`, stream.ID())
	select {
	case <-stream.replies.request.wake:
	default:
		t.Error("progress did not wake the waiting caller")
	}
}

func TestRepliesDoNotShareTheReadersBuffer(t *testing.T) {
	told := make(chan struct{})
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("classify").ID
		w.reuse(`{"id":%q,"type":"item","index":0,"token":"a","token_id":7,"logprob":-1}`, id)
		w.reuse(doneLine, id, "stop")
		id = w.next("generate").ID
		w.reuse(`{"type":"token","id":%q,"seq":0,"token":"t0","token_id":1}`, id)
		w.reuse(doneLine, id, "stop")
		close(told)
		w.reuse(resultLine, w.next("info").ID, loadedFields)
	})
	classes, err := model.Classify(deadlined(t), []string{"p"})
	if err != nil || len(classes) != 1 || classes[0].TokenID != 7 {
		t.Errorf("classify returned %+v, %v", classes, err)
	}
	stream, err := model.GenerateStream(deadlined(t), "p")
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the answer", told)
	if text, err := stream.Text(); text != "t0" || err != nil {
		t.Errorf("generate returned %q, %v", text, err)
	}
	if info, err := model.Info(deadlined(t)); err != nil || info.ModelType != "scripted" {
		t.Errorf("info returned %+v, %v", info, err)
	}
}

func TestTheEndOfTheContextCancelsARequestWithOneResult(t *testing.T) {
	ctx, cancel := context.WithCancel(deadlined(t))
	cancelled := make(chan struct{})
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("info").ID
		cancel()
		if target := w.next("cancel").Target; target != id {
			t.Errorf("the client cancelled %q, want %q", target, id)
		}
		close(cancelled)
	})
	if _, err := model.Info(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("info ended with %v, want the context's error", err)
	}
	await(t, "the cancel", cancelled)
}

func TestNoRequestIsSentWithAContextThatHasEnded(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		w.result(w.next("info").ID, loadedFields)
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := model.GenerateStream(ctx, "p"); !errors.Is(err, context.Canceled) {
		t.Errorf("generate gave %v, want the context's error", err)
	}
	if _, err := model.BatchStream(ctx, []string{"p"}); !errors.Is(err, context.Canceled) {
		t.Errorf("batch gave %v, want the context's error", err)
	}
	if _, err := model.Info(deadlined(t)); err != nil {
		t.Error(err)
	}
}

func TestARequestThatOnlyEndsOrFeedsOthersIsNotBlamedForACrash(t *testing.T) {
	for command, want := range map[*wire.Command]bool{
		wire.Generate: true, wire.Load: true, wire.Info: true, wire.Cancel: false, wire.Credit: false, wire.Quit: false,
	} {
		if asks := newRequest(nil, command, requestHooks{}).asks(); asks != want {
			t.Errorf("asks of %s is %v", command.Name, asks)
		}
	}
}

func TestAStreamThatWasLeftKeepsItsErrorWhenItsContextEnds(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("generate").ID
		w.token(id, 0)
		w.next("cancel")
		w.done(id, "cancelled")
	})
	ctx, cancel := context.WithCancel(deadlined(t))
	stream, err := model.GenerateStream(ctx, "p")
	if err != nil {
		t.Fatal(err)
	}
	for range stream.Tokens() {
		break
	}
	cancel()
	if _, err := stream.Text(); !errors.Is(err, ErrStreamClosed) {
		t.Errorf("the stream ended with %v, want the error of a stream that was left", err)
	}
}
