package mlxwire

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// A Text is an input of Embed and Score: a string, or token ids. Texts and TokenTexts make them.
type Text struct {
	text string
	ids  []int
}

// Texts makes a Text of each string.
func Texts(texts ...string) []Text {
	made := make([]Text, len(texts))
	for i, text := range texts {
		made[i].text = text
	}
	return made
}

// TokenTexts makes a Text of each list of token ids.
func TokenTexts(texts ...[]int) []Text {
	made := make([]Text, len(texts))
	for i, ids := range texts {
		made[i].ids = append([]int{}, ids...)
	}
	return made
}

// MarshalJSON writes the string or the ids.
func (t Text) MarshalJSON() ([]byte, error) {
	if t.ids != nil {
		return json.Marshal(t.ids)
	}
	return json.Marshal(t.text)
}

// Rendered is the prompt that a conversation becomes, as text and as its Count token IDs.
type Rendered struct {
	Prompt   string            `json:"prompt"`
	IDs      []int             `json:"ids"`
	Count    int               `json:"count"`
	Messages []RenderedMessage `json:"messages"` // the tokens of each message
	// AnswerStart is where the tokens begin that ask for an answer.
	AnswerStart int `json:"answer_start"`
}

// RenderedMessage says which tokens of a prompt are those of a message: Count of them, from Start on.
type RenderedMessage struct {
	Index int `json:"index"`
	Start int `json:"start"`
	Count int `json:"count"`
}

// Render returns the prompt that a conversation becomes, as Chat would compute it. It takes WithThinking,
// WithSpecialTokens, WithTools and WithToolChoice.
func (m *Model) Render(ctx context.Context, messages []Message, options ...RequestOption) (Rendered, error) {
	o := applyRequestOptions(options)
	if err := o.check(wire.Render); err != nil {
		return Rendered{}, err
	}
	return askModel[Rendered](ctx, m, wire.Render, renderFields{Messages: listOf(messages), requestFields: o.fields})
}

// An Embedding is the vector of one text.
type Embedding struct {
	Index  int    `json:"index"` // of the text
	Vector Vector `json:"embedding"`
	Tokens int    `json:"tokens"` // how many the text has
	Err    error  `json:"-"`      // why this text failed, or nil
}

// A Vector is a row of float32 numbers.
type Vector []float32

// UnmarshalJSON reads the numbers' bytes in base64, the least byte first.
func (v *Vector) UnmarshalJSON(text []byte) error {
	var packed []byte
	if err := json.Unmarshal(text, &packed); err != nil || packed == nil || text[0] != '"' {
		return fmt.Errorf("a vector is not base64: %.40s", text)
	}
	if len(packed)%4 != 0 {
		return fmt.Errorf("a vector has %d bytes, which are no float32 numbers", len(packed))
	}
	row := make(Vector, len(packed)/4)
	for i := range row {
		row[i] = math.Float32frombits(binary.LittleEndian.Uint32(packed[4*i:]))
	}
	*v = row
	return nil
}

// Embed returns the vector of each text, in the order of the texts. A text that failed has its own Err.
// If the request fails, Embed returns the vectors that had arrived, and the error. It takes
// WithDimensions, WithNormalize, WithInstruction, WithPromptName, WithPooling and WithLoadedAdapter.
func (m *Model) Embed(ctx context.Context, texts []Text, options ...RequestOption) ([]Embedding, error) {
	stream, err := m.EmbedStream(ctx, texts, options...)
	return inOrder(stream, err, func(e Embedding) int { return e.Index })
}

// EmbedStream returns the vector of each text, like Embed, and gives each as it arrives.
func (m *Model) EmbedStream(ctx context.Context, texts []Text, options ...RequestOption) (*EmbedStream, error) {
	o := applyRequestOptions(options)
	return items(ctx, m, wire.Embed, o, readEmbedding, StageTexts, len(texts), func() any {
		// Base64 takes a quarter of the bytes of decimal numbers.
		return embedFields{Texts: listOf(texts), EncodingFormat: "base64", requestFields: o.fields}
	})
}

var readEmbedding = orFailed(func(index int, failure error) Embedding {
	return Embedding{Index: index, Err: failure}
})

// A ScoreResult has the log-probability of each token of one text, given the tokens before it.
type ScoreResult struct {
	Index    int      `json:"index"` // of the text
	TokenIDs []int    `json:"token_ids"`
	Pieces   []string `json:"pieces"` // the text of each token
	// Logprobs are natural. The first is nil, and so is that of a probability of 0.
	Logprobs []*float64 `json:"logprobs"`
	// Perplexity is the exponential of the mean of their negatives. It is nil for a single token, or if it
	// is infinite.
	Perplexity *float64 `json:"perplexity"`
	Err        error    `json:"-"` // why this text failed, or nil
}

// UnmarshalJSON reads an item. It refuses one with a null in the place of a list.
func (s *ScoreResult) UnmarshalJSON(text []byte) error {
	type plain ScoreResult // has no UnmarshalJSON of its own
	if err := json.Unmarshal(text, (*plain)(s)); err != nil {
		return err
	}
	if s.TokenIDs == nil || s.Pieces == nil || s.Logprobs == nil {
		return errors.New("`token_ids`, `pieces` or `logprobs` is null")
	}
	return nil
}

// Score returns the log-probability of each token of each text, in the order of the texts. A text that
// failed has its own Err. If the request fails, Score returns the results that had arrived, and the
// error. It takes WithLoadedAdapter.
func (m *Model) Score(ctx context.Context, texts []Text, options ...RequestOption) ([]ScoreResult, error) {
	stream, err := m.ScoreStream(ctx, texts, options...)
	return inOrder(stream, err, func(s ScoreResult) int { return s.Index })
}

// ScoreStream returns the log-probabilities of each text, like Score, and gives each result as it arrives.
func (m *Model) ScoreStream(ctx context.Context, texts []Text, options ...RequestOption) (*ScoreStream, error) {
	o := applyRequestOptions(options)
	return items(ctx, m, wire.Score, o, readScore, StageTexts, len(texts), func() any {
		return scoreFields{Texts: listOf(texts), requestFields: o.fields}
	})
}

var readScore = orFailed(func(index int, failure error) ScoreResult {
	return ScoreResult{Index: index, Err: failure}
})

// A RankedDocument is a document of Rerank, with its place among those given.
type RankedDocument struct {
	Index          int     `json:"index"`
	RelevanceScore float64 `json:"relevance_score"`
	Document       string  `json:"-"`
}

type rerankResult struct {
	Results []RankedDocument `json:"results"`
	Metrics Metrics          `json:"metrics"`
}

// Rerank returns the documents by how well they answer the query, the best first. A document that is too
// long makes the whole request fail. It takes WithTopN, WithInstruction and WithLoadedAdapter.
func (m *Model) Rerank(ctx context.Context, query string, documents []string, options ...RequestOption) ([]RankedDocument, error) {
	o := applyRequestOptions(options)
	if err := o.check(wire.Rerank); err != nil {
		return nil, err
	}
	fields := rerankFields{Query: query, Documents: listOf(documents), requestFields: o.fields}
	reply, err := askModel[rerankResult](ctx, m, wire.Rerank, fields)
	if err != nil {
		return nil, err
	}
	m.note(Done{Metrics: reply.Metrics})
	for i, ranked := range reply.Results {
		if ranked.Index < 0 || ranked.Index >= len(documents) {
			return nil, newError(ErrProtocolViolation,
				"the worker ranked document %d, but %d were given; client and worker may be of different versions",
				ranked.Index, len(documents))
		}
		reply.Results[i].Document = documents[ranked.Index]
	}
	return reply.Results, nil
}

// listOf returns a list that JSON writes as such if it is empty: the worker then refuses it by name.
func listOf[T any](given []T) []T { return append([]T{}, given...) }
