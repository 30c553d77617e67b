//go:build !nomlxlm

package inference

import (
	"context"
	"iter"
	"sync"
	"time"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// workerModel is a TextModel over a worker of its own.
type workerModel struct {
	worker   *mlxwire.Worker
	model    *mlxwire.Model
	inFlight inFlight

	mu  sync.Mutex
	err error // of the last stream
}

func newWorkerModel(worker *mlxwire.Worker, model *mlxwire.Model) *workerModel {
	return &workerModel{worker: worker, model: model}
}

func (m *workerModel) Generate(ctx context.Context, prompt string, options ...GenerateOption) iter.Seq[Token] {
	return m.stream(ctx, func(ctx context.Context) iter.Seq2[mlxwire.Token, error] {
		return m.model.Generate(ctx, prompt, requestOptions(ApplyGenerateOpts(options))...)
	})
}

func (m *workerModel) Chat(ctx context.Context, messages []Message, options ...GenerateOption) iter.Seq[Token] {
	turns := make([]mlxwire.Message, len(messages))
	for i, message := range messages {
		turns[i] = mlxwire.Message(message)
	}
	return m.stream(ctx, func(ctx context.Context) iter.Seq2[mlxwire.Token, error] {
		return m.model.Chat(ctx, turns, requestOptions(ApplyGenerateOpts(options))...)
	})
}

func (m *workerModel) stream(ctx context.Context, open func(context.Context) iter.Seq2[mlxwire.Token, error]) iter.Seq[Token] {
	return func(yield func(Token) bool) {
		ctx, end := m.inFlight.begin(ctx)
		defer end()
		m.setErr(nil)
		for token, err := range open(ctx) {
			if err != nil {
				m.setErr(err)
				return
			}
			if !yield(plainToken(token)) {
				return
			}
		}
	}
}

func (m *workerModel) Classify(ctx context.Context, prompts []string, options ...GenerateOption) ([]ClassifyResult, error) {
	ctx, end := m.inFlight.begin(ctx)
	defer end()
	var request []mlxwire.RequestOption // the sampling options say nothing here
	if ApplyGenerateOpts(options).ReturnLogits {
		request = append(request, mlxwire.WithLogits())
	}
	classified, err := m.model.Classify(ctx, prompts, request...)
	results := make([]ClassifyResult, len(classified))
	for i, result := range classified {
		results[i] = ClassifyResult{
			Token:  Token{ID: int32(result.TokenID), Text: result.Text},
			Logits: result.Logits,
		}
	}
	return results, err
}

func (m *workerModel) BatchGenerate(ctx context.Context, prompts []string, options ...GenerateOption) ([]BatchResult, error) {
	ctx, end := m.inFlight.begin(ctx)
	defer end()
	results := make([]BatchResult, len(prompts))
	request := append(requestOptions(ApplyGenerateOpts(options)), mlxwire.WithOnToken(func(token mlxwire.Token) {
		if token.Index < len(results) {
			results[token.Index].take(token)
		}
	}))
	ended, err := m.model.BatchGenerate(ctx, prompts, request...)
	for _, result := range ended {
		if result.Index < len(results) {
			results[result.Index].Err = result.Err
		}
	}
	return results, err
}

func (m *workerModel) ModelType() string { return m.model.Loaded().ModelType }

func (m *workerModel) Info() ModelInfo {
	info := m.model.Loaded()
	return ModelInfo{
		Architecture: info.ModelType, VocabSize: info.VocabSize, NumLayers: info.Layers,
		HiddenSize: info.HiddenSize, QuantBits: info.QuantBits, QuantGroup: info.QuantGroup,
	}
}

func (m *workerModel) Metrics() GenerateMetrics {
	metrics := m.model.Metrics()
	return GenerateMetrics{
		PromptTokens:        metrics.PromptTokens,
		GeneratedTokens:     metrics.GeneratedTokens,
		PrefillDuration:     duration(metrics.PrefillSeconds),
		DecodeDuration:      duration(metrics.DecodeSeconds),
		TotalDuration:       duration(metrics.TotalSeconds),
		PrefillTokensPerSec: metrics.PrefillTokensPerSecond,
		DecodeTokensPerSec:  metrics.DecodeTokensPerSecond,
		PeakMemoryBytes:     metrics.PeakMemoryBytes,
		ActiveMemoryBytes:   metrics.ActiveMemoryBytes,
	}
}

func (m *workerModel) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// Close ends the worker.
func (m *workerModel) Close() error { return m.worker.Close() }

// CancelRequest implements RequestCanceller.
func (m *workerModel) CancelRequest(id string) bool { return m.inFlight.cancel(id) }

// Capabilities implements CapabilityReporter: the worker's, and those of its model.
func (m *workerModel) Capabilities() mlxwire.Capabilities {
	all := make(mlxwire.Capabilities)
	for name, value := range m.worker.Capabilities() {
		all[name] = value
	}
	for name, value := range m.model.Loaded().Capabilities {
		all[name] = value
	}
	return all
}

// PromptCache implements PromptCacher.
func (m *workerModel) PromptCache() *mlxwire.PromptCache { return m.model.Cache() }

// Memory implements MemoryLimiter.
func (m *workerModel) Memory(ctx context.Context) (mlxwire.Memory, error) {
	return m.worker.Memory(ctx)
}

// SetMemory implements MemoryLimiter.
func (m *workerModel) SetMemory(ctx context.Context, limits mlxwire.MemoryLimits) (mlxwire.Memory, error) {
	return m.worker.SetMemory(ctx, limits)
}

func (m *workerModel) setErr(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// take adds a token. Text that was held back until the end belongs to the last one.
func (r *BatchResult) take(token mlxwire.Token) {
	if last := len(r.Tokens) - 1; token.Flush && last >= 0 {
		r.Tokens[last].Text += token.Text
		return
	}
	r.Tokens = append(r.Tokens, plainToken(token))
}

func plainToken(token mlxwire.Token) Token {
	return Token{ID: int32(token.ID), Text: token.Text}
}

func duration(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second))
}

// requestOptions are those of a config. TopP, MinP, TopK and RepeatPenalty are off at 0 on the
// wire too.
func requestOptions(config GenerateConfig) []mlxwire.RequestOption {
	options := []mlxwire.RequestOption{
		mlxwire.WithMaxTokens(config.MaxTokens),
		mlxwire.WithTemperature(float64(config.Temperature)),
		mlxwire.WithTopK(config.TopK),
		mlxwire.WithTopP(float64(config.TopP)),
		mlxwire.WithMinP(float64(config.MinP)),
		mlxwire.WithRepeatPenalty(float64(config.RepeatPenalty)),
	}
	if len(config.StopTokens) > 0 {
		ids := make([]int, len(config.StopTokens))
		for i, id := range config.StopTokens {
			ids[i] = int(id)
		}
		options = append(options, mlxwire.WithStopTokens(ids...))
	}
	return options
}
