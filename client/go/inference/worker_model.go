//go:build !nomlxlm

package inference

import (
	"context"
	"fmt"
	"iter"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// workerModel is a TextModel with a worker of its own.
type workerModel struct {
	worker   *mlxwire.Worker
	model    *mlxwire.Model
	warnings []string
	inFlight inFlight
	errs     streamErrs
	figures  figures
}

func (m *workerModel) Generate(ctx context.Context, prompt string, options ...GenerateOption) iter.Seq[Token] {
	return m.noted(m.GenerateWithErr(ctx, prompt, options...))
}

func (m *workerModel) Chat(ctx context.Context, messages []Message, options ...GenerateOption) iter.Seq[Token] {
	return m.noted(m.ChatWithErr(ctx, messages, options...))
}

// GenerateWithErr implements ErrorStreamer.
func (m *workerModel) GenerateWithErr(ctx context.Context, prompt string, options ...GenerateOption) iter.Seq2[Token, error] {
	return m.stream(ctx, generating, options, func(ctx context.Context, request []mlxwire.RequestOption) (*mlxwire.Stream, error) {
		return m.model.GenerateStream(ctx, prompt, request...)
	})
}

// ChatWithErr implements ErrorStreamer.
func (m *workerModel) ChatWithErr(ctx context.Context, messages []Message, options ...GenerateOption) iter.Seq2[Token, error] {
	turns := toTurns(messages)
	return m.stream(ctx, chatting, options, func(ctx context.Context, request []mlxwire.RequestOption) (*mlxwire.Stream, error) {
		return m.model.ChatStream(ctx, turns, request...)
	})
}

// stream gives the tokens of one request. It holds each token back until the next one or the end is
// known: text that the worker held back until the end belongs to the last token.
func (m *workerModel) stream(ctx context.Context, call call, options []GenerateOption,
	open func(context.Context, []mlxwire.RequestOption) (*mlxwire.Stream, error),
) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		config := ApplyGenerateOpts(options)
		var ended operation
		defer func() { m.figures.end(ended, config.MetricsSink) }()
		request, err := requestOptions(ctx, call, config)
		if err != nil {
			yield(Token{}, err)
			return
		}
		ctx, end := m.inFlight.begin(ctx)
		defer end()
		stream, err := open(ctx, request)
		if err != nil {
			yield(Token{}, causeOf(ctx, err))
			return
		}
		ended = stream
		var newest *Token
		for token, err := range stream.Tokens() {
			if token.Channel != "" {
				if config.ThoughtSink != nil && token.Text != "" {
					config.ThoughtSink(token.Text)
				}
				token.Text = ""
			}
			switch {
			case err != nil:
				// The end of the context also stops what has arrived.
				if newest == nil || ctx.Err() != nil || yield(*newest, nil) {
					yield(Token{}, causeOf(ctx, err))
				}
				return
			case token.Flush && newest != nil:
				newest.Text += token.Text
			default:
				if newest != nil && !yield(*newest, nil) {
					return
				}
				own := plainToken(token)
				newest = &own
			}
		}
		if err := ctx.Err(); err != nil {
			yield(Token{}, causeOf(ctx, err))
			return
		}
		if newest != nil && !yield(*newest, nil) {
			return
		}
		if done, ok := stream.Done(); ok {
			if err := m.cutByContext(config, done.FinishReason, done.TokensGenerated); err != nil {
				yield(Token{}, err)
			}
		}
	}
}

// noted passes tokens on, and records the stream's failure for Err.
func (m *workerModel) noted(tokens iter.Seq2[Token, error]) iter.Seq[Token] {
	maker := goroutineID()
	return func(yield func(Token) bool) {
		var failure error
		end := m.errs.begin(maker)
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

func (m *workerModel) Classify(ctx context.Context, prompts []string, options ...GenerateOption) (results []ClassifyResult, err error) {
	config := ApplyGenerateOpts(options)
	var ended operation
	defer func() { m.figures.end(ended, config.MetricsSink) }()
	request, err := requestOptions(ctx, classifying, config)
	if err != nil || len(prompts) == 0 {
		return nil, err
	}
	ctx, end := m.inFlight.begin(ctx)
	defer end()
	stream, err := m.model.ClassifyStream(ctx, prompts, request...)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	ended = stream
	results = make([]ClassifyResult, len(prompts))
	for result, err := range stream.Results() {
		if err != nil {
			return nil, causeOf(ctx, err)
		}
		if result.Err != nil { // the interface has one error for all prompts
			return nil, fmt.Errorf("inference: prompt %d: %w", result.Index, result.Err)
		}
		if within(results, result.Index) {
			results[result.Index] = ClassifyResult{
				Token: Token{ID: int32(result.TokenID), Text: result.Text}, Logits: result.Logits,
			}
		}
	}
	return results, nil
}

func (m *workerModel) BatchGenerate(ctx context.Context, prompts []string, options ...GenerateOption) (results []BatchResult, err error) {
	config := ApplyGenerateOpts(options)
	var ended operation
	defer func() { m.figures.end(ended, config.MetricsSink) }()
	request, err := requestOptions(ctx, generating, config)
	if err != nil || len(prompts) == 0 {
		return nil, err
	}
	ctx, end := m.inFlight.begin(ctx)
	defer end()
	results = make([]BatchResult, len(prompts))
	complete := make([]bool, len(prompts))
	request = append(request, mlxwire.WithOnToken(func(token mlxwire.Token) {
		if within(results, token.Index) {
			results[token.Index].take(token)
		}
	}))
	stream, err := m.model.BatchStream(ctx, prompts, request...)
	if err == nil {
		ended = stream
		for result, failure := range stream.Results() {
			switch {
			case failure != nil:
				err = failure
			case within(results, result.Index):
				complete[result.Index] = true
				results[result.Index].Err = result.Err
				if result.Err == nil {
					results[result.Index].Err = m.cutByContext(config, result.FinishReason, result.TokensGenerated)
				}
			}
		}
	}
	err = causeOf(ctx, err)
	for i := range results {
		if err != nil && !complete[i] {
			results[i].Err = err
		}
	}
	return results, err
}

// cutByContext returns an error if a text ended because the context was full: the interface knows no
// other sign of it.
func (m *workerModel) cutByContext(config GenerateConfig, reason mlxwire.FinishReason, generated int) error {
	if reason != mlxwire.FinishLength || generated >= config.MaxTokens {
		return nil
	}
	info := m.model.Loaded()
	failure := fault(mlxwire.ErrContextOverflow,
		"the text ended after %d of %d tokens, because the context of %d tokens was full; shorten the prompt, "+
			"ask for less with WithMaxTokens, or load the model with a larger WithContextLen",
		generated, config.MaxTokens, info.ContextLen)
	failure.Data = map[string]any{"context_len": info.ContextLen}
	failure.TokensDelivered = generated
	return failure
}

func (m *workerModel) ModelType() string { return family(m.model.Loaded().ModelType) }

func (m *workerModel) Info() ModelInfo {
	info := m.model.Loaded()
	return ModelInfo{
		Architecture: m.ModelType(), VocabSize: info.VocabSize, NumLayers: info.Layers,
		HiddenSize: info.HiddenSize, QuantBits: info.QuantBits, QuantGroup: info.QuantGroup,
	}
}

func (m *workerModel) Metrics() GenerateMetrics { return m.figures.metrics() }

func (m *workerModel) Err() error { return m.errs.last() }

// Close ends the worker.
func (m *workerModel) Close() error { return m.worker.Close() }

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

func toTurns(messages []Message) []mlxwire.Message {
	turns := make([]mlxwire.Message, len(messages))
	for i, message := range messages {
		turns[i] = mlxwire.Message{Role: message.Role, Content: message.Content}
	}
	return turns
}

func within[T any](results []T, index int) bool { return 0 <= index && index < len(results) }
