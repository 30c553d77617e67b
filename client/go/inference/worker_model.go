//go:build !nomlxlm

package inference

import (
	"context"
	"iter"
	"time"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// workerModel is a TextModel with a worker of its own.
type workerModel struct {
	worker   *mlxwire.Worker
	model    *mlxwire.Model
	inFlight inFlight
	err      streamErr
}

func newWorkerModel(worker *mlxwire.Worker, model *mlxwire.Model) *workerModel {
	return &workerModel{worker: worker, model: model}
}

func (m *workerModel) Generate(ctx context.Context, prompt string, options ...GenerateOption) iter.Seq[Token] {
	return m.noted(m.GenerateWithErr(ctx, prompt, options...))
}

func (m *workerModel) Chat(ctx context.Context, messages []Message, options ...GenerateOption) iter.Seq[Token] {
	return m.noted(m.ChatWithErr(ctx, messages, options...))
}

// GenerateWithErr implements ErrorStreamer.
func (m *workerModel) GenerateWithErr(ctx context.Context, prompt string, options ...GenerateOption) iter.Seq2[Token, error] {
	return m.stream(ctx, options, func(ctx context.Context, request []mlxwire.RequestOption) iter.Seq2[mlxwire.Token, error] {
		return m.model.Generate(ctx, prompt, request...)
	})
}

// ChatWithErr implements ErrorStreamer.
func (m *workerModel) ChatWithErr(ctx context.Context, messages []Message, options ...GenerateOption) iter.Seq2[Token, error] {
	turns := make([]mlxwire.Message, len(messages))
	for i, message := range messages {
		turns[i] = mlxwire.Message(message)
	}
	return m.stream(ctx, options, func(ctx context.Context, request []mlxwire.RequestOption) iter.Seq2[mlxwire.Token, error] {
		return m.model.Chat(ctx, turns, request...)
	})
}

func (m *workerModel) stream(ctx context.Context, options []GenerateOption,
	open func(context.Context, []mlxwire.RequestOption) iter.Seq2[mlxwire.Token, error],
) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		request, err := tokenOptions(options)
		if err != nil {
			yield(Token{}, err)
			return
		}
		ctx, end := m.inFlight.begin(ctx)
		defer end()
		for token, err := range open(ctx, request) {
			if !yield(plainToken(token), err) || err != nil {
				return
			}
		}
	}
}

// noted passes tokens on, and records the stream's failure for Err.
func (m *workerModel) noted(tokens iter.Seq2[Token, error]) iter.Seq[Token] {
	return func(yield func(Token) bool) {
		var failure error
		end := m.err.begin()
		defer func() { end(failure) }()
		for token, err := range tokens {
			if err != nil {
				failure = err
				return
			}
			if !yield(token) {
				return
			}
		}
	}
}

func (m *workerModel) Classify(ctx context.Context, prompts []string, options ...GenerateOption) ([]ClassifyResult, error) {
	request, err := classifyOptions(options)
	if err != nil {
		return nil, err
	}
	ctx, end := m.inFlight.begin(ctx)
	defer end()
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
	request, err := tokenOptions(options)
	if err != nil {
		return nil, err
	}
	ctx, end := m.inFlight.begin(ctx)
	defer end()
	results := make([]BatchResult, len(prompts))
	request = append(request, mlxwire.WithOnToken(func(token mlxwire.Token) {
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

func (m *workerModel) Err() error { return m.err.last() }

// Close ends the worker.
func (m *workerModel) Close() error { return m.worker.Close() }

// CancelRequest implements RequestCanceller.
func (m *workerModel) CancelRequest(id string) bool { return m.inFlight.cancel(id) }

// Capabilities implements CapabilityReporter. It merges the capabilities of the worker and of its model.
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

// take adds a token. Text that the worker held back until the end belongs to the last token.
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
