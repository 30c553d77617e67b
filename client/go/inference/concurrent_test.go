//go:build !nomlxlm

package inference_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
	"github.com/mlxwire/mlxwire/client/go/inference"
	"github.com/mlxwire/mlxwire/client/go/internal/workertest"
)

const contextLen = 64

// tooLong is a prompt that does not fit into that context.
var tooLong = strings.Repeat("word ", contextLen+1)

func TestNoFailureIsHiddenByAStreamThatRunsAtTheSameTime(t *testing.T) {
	model := loadMock(t, inference.WithContextLen(contextLen))
	ctx := context.Background()
	for range model.Generate(ctx, "one two three") { // runs until all of the following is over
		if count(model.Generate(ctx, tooLong), -1) != 0 || !errors.Is(model.Err(), mlxwire.ErrContextOverflow) {
			t.Errorf("Err after a failure is %v", model.Err())
		}
		for range model.Chat(ctx, []inference.Message{{Role: "user", Content: "one"}}) {
			if !errors.Is(model.Err(), mlxwire.ErrContextOverflow) {
				t.Errorf("Err after another stream began is %v", model.Err())
			}
		}
		if model.Err() != nil {
			t.Errorf("Err after a later stream succeeded is %v", model.Err())
		}
		count(model.Generate(ctx, tooLong), -1)
	}
	if !errors.Is(model.Err(), mlxwire.ErrContextOverflow) {
		t.Errorf("Err after a stream that ran at the same time succeeded is %v", model.Err())
	}
}

func TestAnErrorStreamReportsItsOwnFailures(t *testing.T) {
	model := loadMock(t, inference.WithContextLen(contextLen))
	streamer := model.(inference.ErrorStreamer)
	var group sync.WaitGroup
	for i := range 16 {
		fails := i%2 == 0
		prompt := "one two"
		if fails {
			prompt = tooLong
		}
		workertest.Go(&group, func() {
			tokens, last := 0, error(nil)
			for _, err := range streamer.GenerateWithErr(context.Background(), prompt) {
				if last = err; err == nil {
					tokens++
				}
			}
			if fails != errors.Is(last, mlxwire.ErrContextOverflow) || !fails && (last != nil || tokens != 2) {
				t.Errorf("must fail: %v; the stream gave %d tokens and %v", fails, tokens, last)
			}
		})
	}
	group.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, err := range streamer.ChatWithErr(ctx, []inference.Message{{Role: "user", Content: "one"}}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a stream of a context that had ended gave %v", err)
		}
	}
	if model.Err() != nil {
		t.Errorf("Err reports the failure of an ErrorStreamer: %v", model.Err())
	}
}

func TestAnErrorStreamIsCancelledByTheIDOfItsHost(t *testing.T) {
	model := loadMock(t)
	ctx := inference.ContextWithRequestID(context.Background(), "mine")
	var last error
	for _, err := range model.(inference.ErrorStreamer).GenerateWithErr(ctx, strings.Repeat("word ", 1000), inference.WithMaxTokens(1000)) {
		if last = err; err == nil {
			model.(inference.RequestCanceller).CancelRequest("mine")
		}
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("the cancelled stream ended with %v", last)
	}
}

func TestAnOptionThatACallCantApplyIsRefusedByItsName(t *testing.T) {
	model := loadMock(t)
	ctx := context.Background()
	refused := func(call string, err error, field string) {
		t.Helper()
		var own *mlxwire.Error
		if !errors.As(err, &own) || own.Code != mlxwire.ErrInvalidParams || own.Field() != field {
			t.Errorf("%s gave %v, want %q refused", call, err, field)
		}
	}
	count(model.Generate(ctx, "p", inference.WithLogits()), -1)
	refused("generate", model.Err(), "logits")
	count(model.Generate(ctx, "p"), -1)
	count(model.Chat(ctx, []inference.Message{{Role: "user", Content: "p"}}, inference.WithLogits()), -1)
	refused("chat", model.Err(), "logits")
	_, err := model.BatchGenerate(ctx, []string{"p"}, inference.WithLogits())
	refused("batch", err, "logits")
	for field, option := range map[string]inference.GenerateOption{
		"max_tokens": inference.WithMaxTokens(0), "min_tokens": inference.WithMinTokens(1),
		"stop_tokens": inference.WithStopTokens(7), "thinking": inference.WithThinking(true),
		"logit_bias": inference.WithLogitBias(map[int32]float32{1: 1}),
	} {
		_, err := model.Classify(ctx, []string{"p"}, option)
		refused("classify", err, field)
	}
	thoughts := inference.WithThoughtSink(func(string) {})
	count(model.Generate(ctx, "p", thoughts), -1)
	refused("generate", model.Err(), "thinking")
	_, err = model.BatchGenerate(ctx, []string{"p"}, thoughts)
	refused("batch", err, "thinking")
	_, err = model.Classify(ctx, []string{"p"}, thoughts)
	refused("classify", err, "thinking")
	classes, err := model.Classify(ctx, []string{"p"}, inference.WithMaxTokens(1), inference.WithTemperature(0),
		inference.WithTopP(1), inference.WithRepeatPenalty(1.3), inference.WithCache(false), inference.WithTopK(3))
	if err != nil || len(classes) != 1 {
		t.Errorf("options that do not change the answer gave %+v, %v", classes, err)
	}
}
