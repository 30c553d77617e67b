package mlxwire

import (
	"context"
	"errors"
	"testing"
)

func TestAStreamGivesItsTokensAndSaysHowItEnded(t *testing.T) {
	asked := make(chan struct{}) // closed when Done was called before the end
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("generate").ID
		<-asked
		w.token(id, 0)
		w.token(id, 1)
		w.say(`{"type":"token","id":%q,"seq":2,"token":"!","token_id":1,"flush":true}`, id)
		w.done(id, "stop")
	})
	stream, err := model.GenerateStream(deadlined(t), "p")
	if err != nil {
		t.Fatal(err)
	}
	if _, ended := stream.Done(); ended {
		t.Error("the stream has ended before it began")
	}
	close(asked)
	text, err := stream.Text()
	done, ended := stream.Done()
	if text != "t0t1!" || err != nil || !ended || done.FinishReason != FinishStop {
		t.Errorf("the stream returned %q, %v and ended with %+v", text, err, done)
	}
	if model.Metrics().PromptTokens != 3 || stream.Delivered() != 2 || stream.Close() != nil {
		t.Errorf("the metrics are %+v, and %d tokens were delivered", model.Metrics(), stream.Delivered())
	}
}

func TestTextLeavesOtherChannelsOut(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("generate").ID
		w.say(`{"type":"token","id":%q,"seq":0,"token":"hm","token_id":1,"channel":"thinking"}`, id)
		w.token(id, 1)
		w.done(id, "stop")
	})
	stream, err := model.GenerateStream(deadlined(t), "p")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := stream.Text(); text != "t1" || err != nil || stream.Delivered() != 2 {
		t.Errorf("the stream returned %q of %d tokens, %v", text, stream.Delivered(), err)
	}
}

func TestLeavingTheRangeCancelsInTheWorker(t *testing.T) {
	cancelled := make(chan struct{})
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("generate").ID
		w.token(id, 0)
		if w.next("cancel").Target == id {
			close(cancelled)
		}
		w.token(id, 1) // a token between the cancel and the final is dropped
		w.done(id, "cancelled")
	})
	for range model.Generate(deadlined(t), "p") {
		break
	}
	await(t, "the cancel", cancelled)
}

// An overdue is a context whose deadline passes when a test closes its channel.
type overdue struct {
	context.Context
	passed chan struct{}
}

func (c overdue) Done() <-chan struct{} { return c.passed }

func (c overdue) Err() error {
	select {
	case <-c.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func TestAStreamEndsWithTheErrorOfItsContext(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("generate").ID
		w.token(id, 0)
		w.next("cancel")
		w.done(id, "cancelled")
	})
	ctx := overdue{deadlined(t), make(chan struct{})}
	var last error
	for _, err := range model.Generate(ctx, "p") {
		if last = err; err == nil {
			close(ctx.passed)
		}
	}
	if !errors.Is(last, context.DeadlineExceeded) {
		t.Errorf("the stream ended with %v, want the context's error", last)
	}
}

func TestTheEndOfTheContextCancelsWhileTheConsumerIsBusy(t *testing.T) {
	cancelled := make(chan struct{})
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("generate").ID
		w.token(id, 0)
		w.token(id, 1)
		w.next("cancel")
		close(cancelled)
		w.done(id, "cancelled")
	})
	ctx, cancel := context.WithCancel(deadlined(t))
	defer cancel()
	count := 0
	var last error
	for _, err := range model.Generate(ctx, "p") {
		if last = err; err == nil {
			count++
			cancel()
			await(t, "the cancel", cancelled)
		}
	}
	if count != 1 || !errors.Is(last, context.Canceled) {
		t.Errorf("the stream gave %d tokens after the cancel, and %v", count-1, last)
	}
}

func TestCancellingACompleteStreamGivesAnErrorAndNoTruncatedText(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("generate").ID
		w.token(id, 0)
		w.token(id, 1)
		w.done(id, "stop")
	})
	ctx, cancel := context.WithCancel(deadlined(t))
	defer cancel()
	stream, err := model.GenerateStream(ctx, "p")
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the final", stream.replies.request.drained)
	cancel()
	if text, err := stream.Text(); text != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("the stream returned %q, %v", text, err)
	}
}

func TestTheClientGrantsCreditAsTheConsumerReads(t *testing.T) {
	const window, tokens = 8, 100
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		request := w.next("generate")
		allowed := request.Window
		if allowed != window {
			t.Errorf("the request has a window of %d", allowed)
		}
		for seq := range tokens {
			for seq == allowed {
				credit := w.next("credit")
				w.result(credit.ID, `"credit":1`)
				allowed += credit.N
			}
			if allowed > seq+window {
				t.Errorf("the worker has credit for %d messages, more than the window", allowed-seq)
			}
			w.token(request.ID, seq)
		}
		w.done(request.ID, "length")
	}, WithWindow(window))
	stream, err := model.GenerateStream(deadlined(t), "p")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Text(); err != nil || stream.Delivered() != tokens {
		t.Errorf("the consumer received %d tokens, %v", stream.Delivered(), err)
	}
}

func TestAStreamThatNobodyReadsHoldsUpNoOther(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		sleeper := w.next("generate").ID
		for seq := range 100 {
			w.token(sleeper, seq)
		}
		other := w.next("generate").ID
		w.token(other, 0)
		w.done(other, "stop")
		w.next("cancel")
		w.done(sleeper, "cancelled")
	})
	sleeper, err := model.GenerateStream(deadlined(t), "sleeper")
	if err != nil {
		t.Fatal(err)
	}
	other, err := model.GenerateStream(deadlined(t), "other")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := other.Text(); text != "t0" || err != nil {
		t.Errorf("the other stream returned %q, %v", text, err)
	}
	if err := sleeper.Close(); err != nil {
		t.Error(err)
	}
}

func TestWithoutWindowsAFullBufferEndsItsStreamAlone(t *testing.T) {
	_, model := startModel(t, `{}`, func(w *scriptedWorker) {
		request := w.next("generate")
		if request.Window != 0 {
			t.Error("the client asked for a window from a worker without windows")
		}
		for seq := range 100 {
			w.token(request.ID, seq)
		}
		w.next("cancel")
		w.done(request.ID, "cancelled")
	}, WithBufferBytes(2000))
	stream, err := model.GenerateStream(deadlined(t), "p")
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the final", stream.replies.request.drained)
	if text, err := stream.Text(); text != "" || !errors.Is(err, ErrSlowConsumer) {
		t.Errorf("the stream ended with %v, after %q, which must be dropped", err, text)
	}
}
