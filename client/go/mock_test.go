package mlxwire

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/workertest"
)

// realWorker makes Start run the worker of this checkout, or the one that MLXWIRE_WORKER names.
func realWorker(t testing.TB, engine string) StartOption {
	t.Helper()
	return WithEnv(WorkerVariable + "=" + workertest.CommandLine(t, engine))
}

// startMock starts the real worker's process with its mock engine, which echoes prompts.
func startMock(t *testing.T, options ...StartOption) (*Worker, *Model) {
	t.Helper()
	worker, err := Start(deadlined(t), append([]StartOption{realWorker(t, "mock")}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := worker.Close(); err != nil {
			t.Error(err)
		}
	})
	model, err := worker.Load(deadlined(t), "any")
	if err != nil {
		t.Fatal(err)
	}
	return worker, model
}

func TestTheMockAnswersEveryKindOfRequest(t *testing.T) {
	worker, model := startMock(t)
	ctx := deadlined(t)
	if text := read(t, model.Generate(ctx, "one two three")); text != "one two three" {
		t.Errorf("generate returned %q", text)
	}
	if text := read(t, model.Chat(ctx, UserTurn("hello there"), WithMaxTokens(1))); text != "hello" {
		t.Errorf("chat returned %q", text)
	}
	batch, err := model.BatchGenerate(ctx, []string{"a b", "c"}, WithMaxTokens(1))
	if err != nil || len(batch) != 2 || batch[0].Text != "a" || batch[0].FinishReason != FinishLength || batch[1].Text != "c" {
		t.Errorf("batch returned %+v, %v", batch, err)
	}
	classes, err := model.Classify(ctx, []string{"a", "b"}, WithLogits(), WithLabels("yes", "no"))
	if err != nil || len(classes) != 2 || classes[1].Text != "b" || len(classes[0].Logits) == 0 || len(classes[0].Labels) != 2 {
		t.Errorf("classify returned %+v, %v", classes, err)
	}
	info, err := model.Info(ctx)
	if err != nil || info.ModelType != "mock" || info.Path != "any" {
		t.Errorf("info returned %+v, %v", info, err)
	}
	metrics, err := worker.Metrics(ctx)
	if err != nil || metrics.Requests == 0 || model.Metrics().TotalSeconds == 0 {
		t.Errorf("metrics returned %+v, %v", metrics, err)
	}
}

func TestTheMockAnswersCacheAndMemoryRequests(t *testing.T) {
	worker, model := startMock(t)
	ctx := deadlined(t)
	warmed, err := model.Cache().Warm(ctx, "one two")
	if err != nil || warmed.Affected != 2 {
		t.Errorf("warm returned %+v, %v", warmed, err)
	}
	if warmed, err := model.Cache().WarmChat(ctx, UserTurn("one")); err != nil || warmed.Affected == 0 {
		t.Errorf("warm of a conversation returned %+v, %v", warmed, err)
	}
	if _, err := model.Cache().Stats(ctx); err != nil {
		t.Error(err)
	}
	if cleared, err := model.Cache().Clear(ctx); err != nil || cleared.Entries != 0 {
		t.Errorf("clear returned %+v, %v", cleared, err)
	}
	buffer := uint64(1 << 30)
	memory, err := worker.SetMemory(ctx, MemoryLimits{Buffer: &buffer})
	if err != nil || memory.ActiveBytes == 0 {
		t.Errorf("memory returned %+v, %v", memory, err)
	}
	if _, err := worker.ClearMemory(ctx); err != nil {
		t.Error(err)
	}
}

func TestTheWorkerUnderstandsAllOptions(t *testing.T) {
	_, model := startMock(t)
	text := read(t, model.Chat(deadlined(t), UserTurn("one two"),
		WithMaxTokens(2), WithTemperature(0.7), WithTopK(40), WithTopP(0.9), WithMinP(0.05), WithSeed(1),
		WithStop("zzz"), WithStopTokens(7), WithIgnoreEOS(), WithMinTokens(1), WithRepeatPenalty(1.1),
		WithPresencePenalty(0.1), WithFrequencyPenalty(0.1), WithPenaltyWindow(8), WithLogitBias(map[int]float64{3: -1}),
		WithXTC(0.1, 0.2), WithLogprobs(1), WithCache(false), WithSpecialTokens(true),
		WithDeadline(time.Minute)))
	if text == "" {
		t.Error("the answer is empty")
	}
	for _, err := range model.Generate(deadlined(t), "one", WithLogits()) {
		var own *Error
		if !errors.As(err, &own) || own.Field() != "logits" {
			t.Errorf("an option of another command gave %v, want it refused by name", err)
		}
	}
}

func TestAWorkerAnswersAfterManyCancels(t *testing.T) {
	_, model := startMock(t)
	for range 20 {
		count := 0
		for _, err := range model.Generate(deadlined(t), "one two", WithMaxTokens(100_000), WithIgnoreEOS()) {
			if err != nil {
				t.Fatal(err)
			}
			if count++; count == 3 {
				break
			}
		}
	}
	if text := read(t, model.Generate(deadlined(t), "again")); text != "again" {
		t.Errorf("the next request returned %q", text)
	}
}

func TestTheWorkersDeadlineGivesDeadlineExceeded(t *testing.T) {
	_, model := startMock(t)
	var last error
	for _, err := range model.Generate(deadlined(t), "one", WithMaxTokens(100_000_000), WithIgnoreEOS(),
		WithDeadline(50*time.Millisecond)) {
		last = err
	}
	if !errors.Is(last, ErrDeadlineExceeded) {
		t.Errorf("the stream ended with %v, want deadline_exceeded", last)
	}
}

func TestARequestIsCancelledByItsID(t *testing.T) {
	worker, model := startMock(t)
	stream, err := model.GenerateStream(deadlined(t), "one", WithMaxTokens(100_000_000), WithIgnoreEOS())
	if err != nil {
		t.Fatal(err)
	}
	result, err := worker.CancelRequest(deadlined(t), stream.ID())
	if err != nil || result.Outcome != "accepted" || result.Cancelled != 1 {
		t.Errorf("the cancel returned %+v, %v", result, err)
	}
	if _, err := stream.Text(); !errors.Is(err, ErrCancelled) || errors.Is(err, context.Canceled) {
		t.Errorf("the cancelled stream ended with %v", err)
	}
}

func TestManyStreamsRunTogether(t *testing.T) {
	_, model := startMock(t)
	var group sync.WaitGroup
	for i := range 32 {
		workertest.Go(&group, func() {
			want := fmt.Sprintf("prompt %d", i)
			if text := read(t, model.Generate(deadlined(t), want)); text != want {
				t.Errorf("the stream returned %q, want %q", text, want)
			}
		})
	}
	group.Wait()
}

func TestTheClientRestartsTheRealWorkerAfterACrash(t *testing.T) {
	worker, model := startMock(t, WithRestart(promptPolicy(3)))
	process, err := os.FindProcess(worker.PID())
	if err != nil {
		t.Fatal(err)
	}
	gone := worker.supervisor.last().gone
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, "the end of the first process", gone)
	if text := read(t, model.Generate(deadlined(t), "one two")); text != "one two" {
		t.Errorf("the request after the crash returned %q", text)
	}
	if worker.PID() == process.Pid {
		t.Error("the worker still has the process that was killed")
	}
}

// read reads a stream and fails the test if the stream fails.
func read(t *testing.T, tokens func(func(Token, error) bool)) string {
	t.Helper()
	var text strings.Builder
	for token, err := range tokens {
		if err != nil {
			t.Errorf("the stream failed after %q: %v", text.String(), err)
		}
		text.WriteString(token.Text)
	}
	return text.String()
}
