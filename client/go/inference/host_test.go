//go:build !nomlxlm

package inference_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlxwire/mlxwire/client/go/inference"
	"github.com/mlxwire/mlxwire/client/go/internal/workertest"
)

// This file is a host that was written for other backends: it knows the table of the interface and
// nothing else of this module.

const tiny = "../../../testdata/tiny"

// useWorker makes the backend run this checkout's worker, as a host's environment would.
func useWorker(t *testing.T, engine string) {
	t.Helper()
	t.Setenv(workertest.Variable, workertest.CommandLine(t, engine))
}

// These declarations let the compiler check the table of the interface.
var (
	_ = inference.Token{ID: int32(1), Text: ""}
	_ = inference.Message{Role: "user", Content: ""}
	_ = inference.ClassifyResult{Token: inference.Token{}, Logits: []float32{}}
	_ = inference.BatchResult{Tokens: []inference.Token{}, Err: error(nil)}
	_ = inference.GenerateMetrics{
		PromptTokens: int(0), GeneratedTokens: int(0),
		PrefillDuration: time.Duration(0), DecodeDuration: time.Duration(0), TotalDuration: time.Duration(0),
		PrefillTokensPerSec: float64(0), DecodeTokensPerSec: float64(0),
		PeakMemoryBytes: uint64(0), ActiveMemoryBytes: uint64(0),
	}
	_ = inference.ModelInfo{Architecture: "", VocabSize: int(0), NumLayers: int(0), HiddenSize: int(0), QuantBits: int(0), QuantGroup: int(0)}
	_ = inference.DiscoveredModel{Path: "", ModelType: "", QuantBits: int(0), QuantGroup: int(0), NumFiles: int(0)}
	_ = inference.GenerateConfig{
		MaxTokens: int(0), Temperature: float32(0), TopK: int(0), TopP: float32(0), MinP: float32(0),
		StopTokens: []int32{}, RepeatPenalty: float32(0), ReturnLogits: false,
	}
	_ = inference.LoadConfig{Backend: "", ContextLen: int(0), GPULayers: int(0), ParallelSlots: int(0), AdapterPath: ""}

	_ inference.GenerateOption                                           = func(*inference.GenerateConfig) {}
	_ inference.LoadOption                                               = func(*inference.LoadConfig) {}
	_ func() inference.GenerateConfig                                    = inference.DefaultGenerateConfig
	_ func([]inference.GenerateOption) inference.GenerateConfig          = inference.ApplyGenerateOpts
	_ func([]inference.LoadOption) inference.LoadConfig                  = inference.ApplyLoadOpts
	_ func(inference.Backend)                                            = inference.Register
	_ func(string) (inference.Backend, bool)                             = inference.Get
	_ func() []string                                                    = inference.List
	_ func() (inference.Backend, error)                                  = inference.Default
	_ func(string, ...inference.LoadOption) (inference.TextModel, error) = inference.LoadModel
	_ func(string) ([]inference.DiscoveredModel, error)                  = inference.Discover
	_ func(string) iter.Seq[inference.DiscoveredModel]                   = inference.DiscoverSeq
	_ func() iter.Seq2[string, inference.Backend]                        = inference.All
)

func TestAHostWrittenForTheTableRuns(t *testing.T) {
	useWorker(t, "mlx")
	ctx := context.Background()
	backend, err := inference.Default()
	if err != nil || backend.Name() != "mlx_lm" || !slices.Contains(inference.List(), "mlx_lm") {
		t.Fatalf("the default backend is %v, %v", backend, err)
	}
	model, err := inference.LoadModel(tiny, inference.WithContextLen(512), inference.WithGPULayers(-1), inference.WithParallelSlots(2))
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	var answer strings.Builder
	for token := range model.Chat(ctx, []inference.Message{{Role: "user", Content: "What is 2 + 3?"}}, inference.WithMaxTokens(32)) {
		answer.WriteString(token.Text)
	}
	if answer.String() != "5" || model.Err() != nil {
		t.Errorf("chat returned %q, %v", answer.String(), model.Err())
	}
	metrics := model.Metrics()
	if metrics.PromptTokens == 0 || metrics.GeneratedTokens == 0 || metrics.TotalDuration <= 0 {
		t.Errorf("the metrics are %+v", metrics)
	}
	if info := model.Info(); model.ModelType() != info.Architecture || info.NumLayers == 0 || info.VocabSize == 0 {
		t.Errorf("info returned %+v", info)
	}
	classes, err := model.Classify(ctx, []string{"2 + 3 =", "one"}, inference.WithLogits())
	if err != nil || len(classes) != 2 || len(classes[1].Logits) != model.Info().VocabSize {
		t.Errorf("classify returned %d results, %v", len(classes), err)
	}
	batch, err := model.BatchGenerate(ctx, []string{"2 + 3 =", "One"}, inference.WithMaxTokens(4))
	if err != nil || len(batch) != 2 || len(batch[0].Tokens) == 0 || batch[1].Err != nil {
		t.Errorf("batch returned %+v, %v", batch, err)
	}
	if err := errors.Join(model.Close(), model.Close()); err != nil {
		t.Errorf("closing twice gave %v", err)
	}
}

// loadMock loads a model of the mock engine, which echoes prompts.
func loadMock(t *testing.T, options ...inference.LoadOption) inference.TextModel {
	t.Helper()
	useWorker(t, "mock")
	model, err := inference.LoadModel("any", append(options, inference.WithBackend("mlx_lm"))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { model.Close() })
	return model
}

func count(tokens iter.Seq[inference.Token], most int) int {
	n := 0
	for range tokens {
		if n++; n == most {
			break
		}
	}
	return n
}

func TestErrIsTheContextsErrorIfItEndedTheStream(t *testing.T) {
	model := loadMock(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range model.Generate(ctx, strings.Repeat("word ", 1000), inference.WithMaxTokens(1000)) {
		cancel()
	}
	if !errors.Is(model.Err(), context.Canceled) {
		t.Errorf("Err is %v, want the context's error", model.Err())
	}
	if n := count(model.Generate(context.Background(), "one two"), -1); n != 2 || model.Err() != nil {
		t.Errorf("the next stream gave %d tokens, %v", n, model.Err())
	}
}

func TestBreakingOutOfAStreamIsNoError(t *testing.T) {
	model := loadMock(t)
	if n := count(model.Generate(context.Background(), strings.Repeat("word ", 1000), inference.WithMaxTokens(1000)), 3); n != 3 || model.Err() != nil {
		t.Errorf("the stream gave %d tokens, %v", n, model.Err())
	}
}

func TestCallsFromManyGoroutinesAreSafe(t *testing.T) {
	model := loadMock(t)
	var group sync.WaitGroup
	for range 16 {
		workertest.Go(&group, func() {
			if n := count(model.Generate(context.Background(), "one two three"), -1); n != 3 {
				t.Errorf("the stream gave %d tokens, want 3", n)
			}
			model.Metrics()
		})
	}
	group.Wait()
}

func TestAPromptThatFailsInABatchHasItsOwnErr(t *testing.T) {
	useWorker(t, "mock")
	model, err := inference.LoadModel("any", inference.WithContextLen(5))
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	results, err := model.BatchGenerate(context.Background(), []string{"one", "one two three four five six"})
	if err != nil || len(results) != 2 || results[0].Err != nil || results[1].Err == nil {
		t.Errorf("the batch returned %+v, %v", results, err)
	}
}

func TestARequestIsCancelledByTheIDOfItsHost(t *testing.T) {
	model := loadMock(t)
	canceller := model.(inference.RequestCanceller)
	ctx := inference.ContextWithRequestID(context.Background(), "mine")
	if canceller.CancelRequest("mine") {
		t.Error("CancelRequest found a request before one was sent")
	}
	for range model.Generate(ctx, strings.Repeat("word ", 1000), inference.WithMaxTokens(1000)) {
		if !canceller.CancelRequest("mine") {
			t.Error("CancelRequest did not find the request")
		}
	}
	if !errors.Is(model.Err(), context.Canceled) {
		t.Errorf("Err is %v, want context.Canceled", model.Err())
	}
}

func TestAModelImplementsTheOptionalInterfaces(t *testing.T) {
	model := loadMock(t)
	if !model.(inference.CapabilityReporter).Capabilities().Has("window") {
		t.Error("the capability window is missing")
	}
	if _, err := model.(inference.PromptCacher).PromptCache().Stats(t.Context()); err != nil {
		t.Error(err)
	}
	limiter := model.(inference.MemoryLimiter)
	if memory, err := limiter.Memory(t.Context()); err != nil || memory.ActiveBytes == 0 {
		t.Errorf("memory returned %+v, %v", memory, err)
	}
}

func TestAModelWarnsThatGPULayersHaveNoEffect(t *testing.T) {
	for _, layers := range []int{0, 3, -1} {
		warnings := loadMock(t, inference.WithGPULayers(layers)).(inference.WarningReporter).Warnings()
		if warned := strings.Contains(strings.Join(warnings, "\n"), "WithGPULayers"); warned != (layers >= 0) {
			t.Errorf("WithGPULayers(%d) gave the warnings %q", layers, warnings)
		}
	}
}
