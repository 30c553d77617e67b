package mlxwire

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/process"
	"github.com/mlxwire/mlxwire/client/go/internal/workertest"
)

// These tests follow requests that fail.

func TestPendingRequestsFailWithTheStderrOfADeadWorker(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("generate").ID
		w.token(id, 0)
		w.token(id, 1)
		w.handlers.Stderr([]byte("Segmentation fault\n"))
		w.exit(process.ExitState{Code: -1, Signal: 11, Name: "segmentation fault"})
	})
	count := 0
	var last error
	for _, err := range model.Generate(deadlined(t), "p") {
		if last = err; err == nil {
			count++
		}
	}
	var own *Error
	if !errors.As(last, &own) {
		t.Fatalf("the stream ended with %v, which is not an *Error", last)
	}
	if own.Code != ErrWorkerCrashed || !own.Retryable || own.TokensDelivered != count || count != 2 ||
		own.Exit == nil || own.Exit.Signal != 11 || own.Stderr != "Segmentation fault\n" {
		t.Errorf("after %d tokens the stream ended with %+v, exit %+v", count, own, own.Exit)
	}
	for _, err := range model.Generate(deadlined(t), "again") {
		if !errors.Is(err, ErrWorkerCrashed) {
			t.Errorf("a later request fails with %v", err)
		}
	}
}

func TestAnErrorOfTheWorkerKeepsItsCodeMessageAndField(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		w.say(`{"id":%q,"type":"error","final":true,"error":{"code":"context_overflow","message":"too long",`+
			`"retryable":false,"data":{"field":"prompt","prompt_tokens":9}}}`, w.next("generate").ID)
		w.say(`{"id":%q,"type":"error","final":true,"error":{"code":"of_tomorrow","message":"new","retryable":true}}`,
			w.next("generate").ID)
	})
	for _, want := range []*Error{
		{Code: ErrContextOverflow, Message: "too long", Data: map[string]any{"field": "prompt"}},
		{Code: "of_tomorrow", Message: "new", Retryable: true},
	} {
		for _, err := range model.Generate(deadlined(t), "p") {
			var own *Error
			if !errors.As(err, &own) || !errors.Is(err, want.Code) || own.Field() != want.Field() ||
				own.Retryable != want.Retryable || own.Message != want.Message {
				t.Errorf("the request failed with %+v, want %+v", err, want)
			}
		}
	}
}

func TestABrokenRuleEndsAllRequestsAndTheWorker(t *testing.T) {
	worker, model := startModel(t, windows, func(w *scriptedWorker) {
		w.next("generate")
		w.next("generate")
		w.say("this is no message")
	})
	var group sync.WaitGroup
	for range 2 {
		workertest.Go(&group, func() {
			for _, err := range model.Generate(deadlined(t), "p") {
				if !errors.Is(err, ErrProtocolViolation) {
					t.Errorf("the request ended with %v, want protocol_violation", err)
				}
			}
		})
	}
	group.Wait()
	await(t, "the worker's end", worker.Done())
}

func TestSilenceLongerThanTheIdleTimeoutIsATimeout(t *testing.T) {
	worker, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("generate").ID
		w.next("cancel")
		w.done(id, "cancelled")
	})
	becomeImpatient(worker)
	for _, err := range model.Generate(deadlined(t), "p") {
		if !errors.Is(err, ErrTimeout) {
			t.Errorf("the request ended with %v, want timeout", err)
		}
	}
}

func TestACancelledRequestThatDoesNotEndIsADrainTimeout(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		w.next("generate")
		w.next("cancel")
	}, WithDrainTimeout(10*time.Millisecond))
	stream, err := model.GenerateStream(deadlined(t), "p")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Close(); !errors.Is(err, ErrDrainTimeout) {
		t.Errorf("Close gave %v, want drain_timeout", err)
	}
}

func TestAStreamCancelledByAnotherCallEndsAsCancelled(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		w.done(w.next("generate").ID, "cancelled")
	})
	stream, err := model.GenerateStream(deadlined(t), "p")
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Text()
	if !errors.Is(err, ErrCancelled) || errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if done, ok := stream.Done(); !ok || done.FinishReason != FinishCancelled {
		t.Errorf("the stream ended with %+v", done)
	}
}

func TestARequestThatCantBeSentIsRefusedByItsField(t *testing.T) {
	_, model := startModel(t, windows, func(*scriptedWorker) {})
	infinity := math.Inf(1)
	for _, c := range []struct {
		code    Code
		field   string
		message []Message
		option  RequestOption
	}{
		{ErrInvalidParams, "messages[0].content", UserTurn("\xff"), WithMaxTokens(1)},
		{ErrInvalidParams, "stop[1]", UserTurn("p"), WithStop("a", "\xff")},
		{ErrInvalidParams, "temperature", UserTurn("p"), WithTemperature(infinity)},
		{ErrMessageTooLarge, "", UserTurn(strings.Repeat("x", 1_000_000)), WithMaxTokens(1)},
	} {
		for _, err := range model.Chat(deadlined(t), c.message, c.option) {
			var own *Error
			if !errors.As(err, &own) || own.Code != c.code || own.Field() != c.field {
				t.Errorf("the request failed with %v, want %s of %q", err, c.code, c.field)
			}
		}
	}
}

func TestProgressReachesTheCaller(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("generate").ID
		w.say(`{"id":%q,"type":"progress","stage":"prefill","done":1,"total":2}`, id)
		w.done(id, "stop")
	})
	var told []string
	for _, err := range model.Generate(deadlined(t), "p", WithProgress(func(p Progress) {
		told = append(told, fmt.Sprintf("%s %v/%v", p.Stage, p.Done, p.Total))
	})) {
		t.Error(err)
	}
	if !slices.Equal(told, []string{"prefill 1/2"}) {
		t.Errorf("the caller was told %q", told)
	}
}

func TestACrashWhoseStatusIsLostSaysSo(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		w.next("generate")
		w.exit(process.ExitState{Unknown: true, Code: -1})
	})
	_, err := collect(model.Generate(deadlined(t), "p"))
	var own *Error
	if !errors.As(err, &own) || own.Code != ErrWorkerCrashed || *own.Exit != (Exit{Unknown: true, Code: -1}) ||
		!strings.Contains(own.Message, "unknown status") || strings.Contains(own.Message, "-1") {
		t.Errorf("the request failed with %+v", own)
	}
}
