package mlxwire

import (
	"context"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// Tokenize returns the tokens of a raw prompt, as Generate would compute them: with the model's token
// for the beginning of a text, and with special tokens that are written in text honoured. It takes
// WithSpecialTokens and WithCountOnly.
func (m *Model) Tokenize(ctx context.Context, text string, options ...RequestOption) (Tokenized, error) {
	return m.tokenize(ctx, options, func(o *requestOptions) any {
		return tokenizeFields{Text: &text, requestFields: o.fields}
	})
}

// TokenizeChat returns the tokens of a conversation, as Chat would compute them with the model's own
// chat template. It takes WithThinking, WithTools, WithSpecialTokens and WithCountOnly.
func (m *Model) TokenizeChat(ctx context.Context, messages []Message, options ...RequestOption) (Tokenized, error) {
	return m.tokenize(ctx, options, func(o *requestOptions) any {
		given := append([]Message{}, messages...) // an empty list is sent, and the worker refuses it
		return tokenizeFields{Messages: given, requestFields: o.fields}
	})
}

// Detokenize returns the text of token ids.
func (m *Model) Detokenize(ctx context.Context, ids []int) (string, error) {
	given := append([]int{}, ids...) // the wire has no null in the place of an empty list
	reply, err := askModel[detokenized](ctx, m, wire.Detokenize, detokenizeFields{IDs: given})
	return reply.Text, err
}

func (m *Model) tokenize(ctx context.Context, options []RequestOption, fields func(*requestOptions) any) (Tokenized, error) {
	o := applyRequestOptions(options)
	if err := o.check(wire.Tokenize); err != nil {
		return Tokenized{}, err
	}
	return askModel[Tokenized](ctx, m, wire.Tokenize, fields(o))
}
