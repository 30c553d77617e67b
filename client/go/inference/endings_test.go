//go:build !nomlxlm

package inference_test

import (
	"context"
	"errors"
	"iter"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
	"github.com/mlxwire/mlxwire/client/go/inference"
)

// long makes a stream run until it is cut.
var long = []inference.GenerateOption{inference.WithMaxTokens(100_000), inference.WithMinTokens(100_000)}

func TestATextThatFillsAContextThatCantRotateEndsWithAnError(t *testing.T) {
	model := loadMock(t, inference.WithContextLen(contextLen)) // the mock has no windows
	if warnings := model.(inference.WarningReporter).Warnings(); !strings.Contains(strings.Join(warnings, ""), "WithContextLen") {
		t.Errorf("the load gave the warnings %q", warnings)
	}
	tokens := count(model.Generate(context.Background(), "one two", long...), -1)
	if tokens != contextLen-2 || !errors.Is(model.Err(), mlxwire.ErrContextOverflow) {
		t.Errorf("the text ended after %d tokens with %v", tokens, model.Err())
	}
	results, err := model.BatchGenerate(context.Background(), []string{"one two", "three"}, long...)
	if err != nil || !errors.Is(results[0].Err, mlxwire.ErrContextOverflow) || !errors.Is(results[1].Err, mlxwire.ErrContextOverflow) {
		t.Errorf("the batch ended with %v, %v, %v", results[0].Err, results[1].Err, err)
	}
	most := inference.WithMaxTokens(contextLen - 2)
	if tokens := count(model.Generate(context.Background(), "one two", most, inference.WithMinTokens(contextLen)), -1); tokens != contextLen-2 || model.Err() != nil {
		t.Errorf("a text that ends at its limit gave %d tokens and %v", tokens, model.Err())
	}
}

func TestEachPromptOfABatchThatIsCutHasAnErr(t *testing.T) {
	model := loadMock(t)
	ended, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		cut  func()
		want []error
	}{
		{"its id", inference.ContextWithRequestID(context.Background(), "mine"), func() {
			for !model.(inference.RequestCanceller).CancelRequest("mine") {
				runtime.Gosched() // the batch has not begun
			}
		}, []error{mlxwire.ErrCancelled, context.Canceled}},
		{"its context", ended, cancel, []error{context.Canceled}},
		{"a close", context.Background(), func() { model.Close() }, nil},
	} {
		go c.cut()
		results, err := model.BatchGenerate(c.ctx, []string{"a b", "c d"}, long...)
		if err == nil || len(results) != 2 || results[0].Err == nil || results[1].Err == nil {
			t.Errorf("a batch cut by %s gave %v, %v", c.name, results, err)
			continue
		}
		for _, want := range c.want {
			if !errors.Is(results[0].Err, want) || !errors.Is(results[1].Err, want) || !errors.Is(err, want) {
				t.Errorf("a batch cut by %s gave %v, %v; want %v", c.name, results[1].Err, err, want)
			}
		}
	}
}

func TestACancelByIDDiffersFromTheEndOfTheContext(t *testing.T) {
	model := loadMock(t)
	own, cancel := context.WithCancel(context.Background())
	defer cancel()
	ctx := inference.ContextWithRequestID(own, "mine")
	for range model.Generate(ctx, "a b", long...) {
		model.(inference.RequestCanceller).CancelRequest("mine")
	}
	if err := model.Err(); !errors.Is(err, context.Canceled) || !errors.Is(err, mlxwire.ErrCancelled) {
		t.Errorf("CancelRequest gave %v", err)
	}
	after := 0
	for range model.Generate(ctx, "a b", long...) {
		if own.Err() != nil {
			after++
		}
		cancel()
	}
	if err := model.Err(); err != context.Canceled || after != 0 {
		t.Errorf("the end of the context gave %v, and %d tokens after it", err, after)
	}
}

func TestTheFiguresAreOfTheOperationThatEndedLast(t *testing.T) {
	model := loadMock(t, inference.WithContextLen(contextLen))
	ctx := context.Background()
	count(model.Generate(ctx, "one two three four", inference.WithMaxTokens(2)), -1)
	if metrics := model.Metrics(); metrics.PromptTokens != 4 || metrics.GeneratedTokens != 2 {
		t.Errorf("a whole stream has the figures %+v", metrics)
	}
	count(model.Generate(ctx, "one two three", inference.WithMinTokens(50), inference.WithMaxTokens(50)), 3)
	if metrics := model.Metrics(); metrics.PromptTokens != 3 || metrics.GeneratedTokens < 3 {
		t.Errorf("a stream that was left has the figures %+v", metrics)
	}
	if _, err := model.Classify(ctx, []string{"one two three four five"}); err != nil || model.Metrics().PromptTokens != 5 {
		t.Errorf("classify has the figures %+v, %v", model.Metrics(), err)
	}
	count(model.Generate(ctx, tooLong), -1)
	if metrics := model.Metrics(); metrics != (inference.GenerateMetrics{}) {
		t.Errorf("a stream that failed has the figures %+v", metrics)
	}
	if _, err := model.BatchGenerate(ctx, []string{"one", "two two"}); err != nil || model.Metrics().PromptTokens != 3 {
		t.Errorf("a batch has the figures %+v, %v", model.Metrics(), err)
	}
	count(model.Generate(ctx, "p", inference.WithTopK(-1)), -1)
	if metrics := model.Metrics(); metrics != (inference.GenerateMetrics{}) {
		t.Errorf("a request that was refused has the figures %+v", metrics)
	}
}

func TestASinkGetsTheFiguresOfItsOwnRequestOnce(t *testing.T) {
	model := loadMock(t)
	ctx := context.Background()
	var group sync.WaitGroup
	for i := range 12 {
		group.Add(1)
		go func() {
			defer group.Done()
			prompt, told := strings.TrimSpace(strings.Repeat("word ", i+1)), []inference.GenerateMetrics{}
			sink := inference.WithMetricsSink(func(metrics inference.GenerateMetrics) { told = append(told, metrics) })
			switch i % 4 {
			case 0:
				count(model.Generate(ctx, prompt, sink), -1)
			case 1:
				count(model.Generate(ctx, prompt, append(long, sink)...), 2)
			case 2:
				model.Classify(ctx, []string{prompt}, sink)
			case 3:
				model.BatchGenerate(ctx, []string{prompt}, sink)
			}
			if len(told) != 1 || told[0].PromptTokens != i+1 {
				t.Errorf("request %d was told %+v", i, told)
			}
		}()
	}
	group.Wait()
}

func TestErrAnswersEachGoroutineForItsOwnStreams(t *testing.T) {
	model := loadMock(t, inference.WithContextLen(contextLen))
	ctx := context.Background()
	ended := make(chan bool)
	failing := func() error { count(model.Generate(ctx, tooLong), -1); return model.Err() }
	var own error
	go func() { own = failing(); close(ended) }()
	count(model.Generate(ctx, "one"), -1)
	<-ended
	if model.Err() != nil || !errors.Is(own, mlxwire.ErrContextOverflow) {
		t.Errorf("Err is %v in the goroutine whose stream succeeded, and %v in the other", model.Err(), own)
	}
	stranger := make(chan error)
	go func() { stranger <- model.Err() }()
	if err := <-stranger; err == nil {
		t.Error("Err is nil in a goroutine without a stream, after a failure")
	}
	next, stop := iter.Pull(model.Generate(ctx, tooLong)) // reads in a goroutine of its own
	defer stop()
	if _, more := next(); more || !errors.Is(model.Err(), mlxwire.ErrContextOverflow) {
		t.Errorf("Err is %v after iter.Pull", model.Err())
	}
}

func TestWrongArgumentsAreRefusedByTheNameOfTheOption(t *testing.T) {
	model := loadMock(t)
	ctx := context.Background()
	nan, infinite := float32(math.NaN()), float32(math.Inf(1))
	for name, options := range map[string][]inference.GenerateOption{
		"WithMaxTokens":     {inference.WithMaxTokens(-1)},
		"WithMinTokens":     {inference.WithMinTokens(-1)},
		"WithTemperature":   {inference.WithTemperature(nan), inference.WithTemperature(-0.1), inference.WithTemperature(infinite)},
		"WithTopK":          {inference.WithTopK(-1)},
		"WithTopP":          {inference.WithTopP(nan), inference.WithTopP(-1)},
		"WithMinP":          {inference.WithMinP(nan), inference.WithMinP(-1)},
		"WithRepeatPenalty": {inference.WithRepeatPenalty(nan), inference.WithRepeatPenalty(-1)},
		"WithStopTokens":    {inference.WithStopTokens(-1)},
		"WithLogitBias":     {inference.WithLogitBias(map[int32]float32{-1: 0}), inference.WithLogitBias(map[int32]float32{1: nan})},
	} {
		for _, option := range options {
			count(model.Generate(ctx, "p", option), -1)
			_, batch := model.BatchGenerate(ctx, []string{"p"}, option)
			_, classes := model.Classify(ctx, []string{"p"}, option)
			for _, err := range []error{model.Err(), batch, classes} {
				if !errors.Is(err, mlxwire.ErrInvalidParams) || !strings.Contains(err.Error(), name) {
					t.Errorf("%s gave %v", name, err)
				}
			}
		}
	}
	var none context.Context
	count(model.Generate(none, "p"), -1)
	_, err := model.BatchGenerate(none, []string{"p"})
	if model.Err() == nil || err == nil {
		t.Errorf("calls without a context gave %v, %v", model.Err(), err)
	}
}

func TestWrongArgumentsOfALoadStartNoWorker(t *testing.T) {
	useWorker(t, "mock")
	started := false
	backend := inference.WorkerBackend{Options: []mlxwire.StartOption{
		mlxwire.WithOnEvent(func(mlxwire.Event) { started = true }),
	}}
	for name, option := range map[string]inference.LoadOption{
		"WithContextLen": inference.WithContextLen(-1), "WithParallelSlots": inference.WithParallelSlots(-1),
		"WithGPULayers": inference.WithGPULayers(-2),
	} {
		if _, err := backend.LoadModel("any", option); !errors.Is(err, mlxwire.ErrInvalidParams) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s gave %v", name, err)
		}
	}
	var none context.Context
	for _, load := range []func() (inference.TextModel, error){
		func() (inference.TextModel, error) { return backend.LoadModel("") },
		func() (inference.TextModel, error) { return backend.LoadModelContext(none, "any") },
	} {
		if model, err := load(); err == nil || model != nil {
			t.Errorf("a load with a wrong argument gave %v, %v", model, err)
		}
	}
	if started {
		t.Error("a worker was started")
	}
}

func TestALoadOfTheWorkerEndsWithItsContext(t *testing.T) {
	backend := inference.WorkerBackend{Command: []string{"sleep", "1000"}} // never answers
	ctx, cancel := context.WithCancel(context.Background())
	go cancel()
	if model, err := backend.LoadModelContext(ctx, "any"); !errors.Is(err, context.Canceled) || model != nil {
		t.Errorf("the load gave %v, %v", model, err)
	}
}

func TestNoPromptsHaveNoResults(t *testing.T) {
	model := loadMock(t)
	batch, err := model.BatchGenerate(context.Background(), nil)
	classes, failure := model.Classify(context.Background(), []string{})
	if len(batch) != 0 || len(classes) != 0 || err != nil || failure != nil {
		t.Errorf("no prompts gave %v, %v, %v, %v", batch, classes, err, failure)
	}
}

func TestTheOptionalInterfacesHaveTypesOfThisPackage(t *testing.T) {
	model := loadMock(t)
	ctx := context.Background()
	cache := model.(inference.PromptCacher).PromptCache()
	stats, err := cache.WarmChat(ctx, []inference.Message{{Role: "user", Content: "a b c"}})
	if err != nil || stats.Affected != 3 {
		t.Errorf("WarmChat returned %+v, %v", stats, err)
	}
	limit := uint64(1 << 30)
	memory, err := model.(inference.MemoryLimiter).SetMemory(ctx, inference.MemoryLimits{Buffer: &limit})
	if err != nil || memory.BufferLimit != limit {
		t.Errorf("SetMemory returned %+v, %v", memory, err)
	}
	tokens := slices.Collect(model.Chat(ctx, []inference.Message{{Role: "user", Content: "a b"}}, inference.WithThinking(true)))
	if textOf(tokens) != "" || !errors.Is(model.Err(), mlxwire.ErrUnsupportedCapability) {
		t.Errorf("the chat of a mock without a switch for thinking gave %q, %v", textOf(tokens), model.Err())
	}
}

func TestARequestNamesItsAdapter(t *testing.T) {
	model := loadMock(t)
	ctx := context.Background()
	loader := model.(inference.AdapterLoader)
	if names, err := loader.Adapters(ctx); len(names) != 0 || err != nil {
		t.Errorf("the adapters are %q, %v", names, err)
	}
	if err := loader.UnloadAdapter(ctx, "poet"); !errors.Is(err, mlxwire.ErrInvalidParams) {
		t.Errorf("an adapter that is not loaded was unloaded: %v", err)
	}
	option := inference.WithLoadedAdapter("poet")
	_ = slices.Collect(model.Generate(ctx, "a b", option))
	generated := model.Err()
	_, classified := model.Classify(ctx, []string{"a"}, option)
	for _, err := range []error{generated, classified} {
		var own *mlxwire.Error
		if !errors.As(err, &own) || own.Field() != "adapter" {
			t.Errorf("a request with an adapter that is not loaded gave %v", err)
		}
	}
}
