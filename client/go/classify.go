package mlxwire

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// ClassifyResult is the likeliest next token of one prompt. A nil number means an infinite one,
// except in Logits.
type ClassifyResult struct {
	Index   int      `json:"index"` // of the prompt
	Text    string   `json:"token"`
	TokenID int      `json:"token_id"`
	Logprob *float64 `json:"logprob"` // the natural log-probability
	// Logits is the raw row over the vocabulary, if WithLogits asked for it. A null on the wire is
	// minus infinity here.
	Logits Logits `json:"logits,omitempty"`
	// Labels is the probability of each label as a continuation, if WithLabels asked for it.
	Labels map[string]*float64 `json:"labels,omitempty"`
	// Err says why this prompt failed; all but Index is empty then. It is nil otherwise.
	Err error `json:"-"`
}

// Label returns the likeliest of the labels, or "" without any.
func (r ClassifyResult) Label() string {
	best, most := "", -1.0
	for label, chance := range r.Labels {
		likely := 0.0
		if chance != nil {
			likely = *chance
		}
		if likely > most || likely == most && label < best {
			best, most = label, likely
		}
	}
	return best
}

// Classify runs each prompt once and returns its likeliest next token, in the order of the prompts;
// with WithTemperature it draws the token. A prompt that failed has its own Err; if the request fails,
// Classify returns no results. See WithLogits and WithLabels.
func (m *Model) Classify(ctx context.Context, prompts []string, options ...RequestOption) ([]ClassifyResult, error) {
	stream, err := m.ClassifyStream(ctx, prompts, options...)
	return classified(stream, err)
}

// ClassifyStream runs each prompt once, like Classify, and gives each result as it arrives.
func (m *Model) ClassifyStream(ctx context.Context, prompts []string, options ...RequestOption) (*ClassifyStream, error) {
	o := applyRequestOptions(options)
	return items(ctx, m, wire.Classify, o, readClassified, StagePrompts, len(prompts), func() any {
		return classifyFields{Prompts: listOf(prompts), requestFields: o.fields}
	})
}

// ClassifyChats runs each conversation once, like Classify: the model's chat template makes a prompt of it,
// and a label is the assistant's answer.
func (m *Model) ClassifyChats(ctx context.Context, conversations [][]Message, options ...RequestOption) ([]ClassifyResult, error) {
	stream, err := m.ClassifyChatsStream(ctx, conversations, options...)
	return classified(stream, err)
}

// ClassifyChatsStream runs each conversation once, like ClassifyChats, and gives each result as it arrives.
func (m *Model) ClassifyChatsStream(ctx context.Context, conversations [][]Message, options ...RequestOption) (*ClassifyStream, error) {
	o := applyRequestOptions(options)
	return items(ctx, m, wire.Classify, o, readClassified, StageMessages, len(conversations), func() any {
		given := make([][]Message, len(conversations))
		for i, turns := range conversations {
			given[i] = listOf(turns)
		}
		return classifyFields{Messages: given, requestFields: o.fields}
	})
}

func classified(stream *ClassifyStream, err error) ([]ClassifyResult, error) {
	results, err := inOrder(stream, err, func(r ClassifyResult) int { return r.Index })
	if err != nil {
		return nil, err
	}
	return results, nil
}

var readClassified = orFailed(func(index int, failure error) ClassifyResult {
	return ClassifyResult{Index: index, TokenID: NoTokenID, Err: failure}
})

// Logits is a row of one number for each token of the vocabulary.
type Logits []float32

// UnmarshalJSON reads a list of numbers and nulls. It exists because encoding/json would need a
// pointer for each number, and a row has as many numbers as the vocabulary has tokens.
func (l *Logits) UnmarshalJSON(text []byte) error {
	text = bytes.TrimSpace(text)
	if string(text) == "null" {
		*l = nil
		return nil
	}
	if len(text) < 2 || text[0] != '[' {
		return fmt.Errorf("logits are not a list: %.40s", text)
	}
	text = text[1 : len(text)-1]
	row := make(Logits, 0, bytes.Count(text, []byte{','})+1)
	for rest := bytes.TrimSpace(text); len(rest) > 0; {
		var number []byte
		number, rest, _ = bytes.Cut(rest, []byte{','})
		value, err := parseLogit(bytes.TrimSpace(number))
		if err != nil {
			return err
		}
		row = append(row, value)
	}
	*l = row
	return nil
}

func parseLogit(number []byte) (float32, error) {
	if string(number) == "null" {
		return float32(math.Inf(-1)), nil
	}
	value, err := strconv.ParseFloat(string(number), 32)
	if err != nil {
		return 0, fmt.Errorf("a logit is not a number: %.40s", number)
	}
	return float32(value), nil
}
