package mlxwire

import (
	"encoding/json"
	"errors"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// This file holds the replies as types (SPEC §5). Fields that this version does not know are
// ignored. A field without omitempty is in every reply; a test compares names and presence with
// protocol/schema.

// A Token is one generated token, or a part of a tool call.
type Token struct {
	Text string // empty while a character is not complete
	ID   int
	// Flush marks what is not counted as a token: text that the worker held back, which has the newest
	// token's ID, and a part of a tool call.
	Flush bool
	// Index is the index of the prompt in a batch; otherwise 0.
	Index int
	// Channel is ChannelThinking for the model's thoughts, and empty for the text of the answer. A
	// program that prints the answer leaves out the text of other channels.
	Channel string
	// ToolCall is a part of a tool call, if the request has tools; Text is then empty and ID is NoTokenID.
	ToolCall *ToolCallDelta
	// Logprob is the natural log-probability. It is nil if it is infinite or was not asked for.
	Logprob *float64
	// TopLogprobs are the likeliest tokens, likeliest first, if they were asked for.
	TopLogprobs []TopLogprob
}

// ChannelThinking is the channel of the model's thoughts.
const ChannelThinking = "thinking"

// TopLogprob is one of the likeliest tokens at a position. A nil Logprob means minus infinity.
type TopLogprob struct {
	Text    string
	ID      int
	Logprob *float64
}

func tokenFromWire(token *wire.Token) Token {
	own := Token{
		Text: token.Text, ID: token.ID, Flush: token.Flush, Index: max(token.Index, 0),
		Channel: token.Channel, Logprob: token.Logprob,
	}
	if part := token.ToolCall; part != nil {
		own.ToolCall = &ToolCallDelta{Index: part.Index, ID: part.CallID, Name: part.Name, Arguments: part.Arguments}
	}
	for _, top := range token.TopLogprobs {
		own.TopLogprobs = append(own.TopLogprobs, TopLogprob(top))
	}
	return own
}

// FinishReason says why a stream ended.
type FinishReason string

// Later workers may have further reasons.
const (
	FinishStop      FinishReason = "stop"
	FinishLength    FinishReason = "length"
	FinishCancelled FinishReason = "cancelled"
	FinishToolCalls FinishReason = "tool_calls"
)

// Done says how a stream ended.
type Done struct {
	FinishReason    FinishReason `json:"finish_reason"`
	TokensGenerated int          `json:"tokens_generated"`
	Metrics         Metrics      `json:"metrics"`
	// Stage is where a cancelled request was: StageQueued, StagePrefill or StageDecode.
	Stage Stage `json:"stage,omitempty"`
	// Complete is true if the text has the whole form that WithResponseFormat asked for.
	Complete bool `json:"complete,omitempty"`
	// SchemaValid tells if the text is an instance of a schema that is not strict; else it is nil.
	SchemaValid *bool `json:"schema_valid,omitempty"`
	// ToolCalls are the complete calls of an answer to a chat with WithTools.
	ToolCalls []ToolCall `json:"tool_calls,omitempty"`
	// ToolError is the last call that did not become whole, or nil.
	ToolError *ToolError `json:"tool_error,omitempty"`
}

// BatchResult is the text that continues one prompt of a batch.
type BatchResult struct {
	Index           int // of the prompt
	Text            string
	TokenIDs        []int
	FinishReason    FinishReason // empty if Err is set
	TokensGenerated int
	Complete        bool  // as in Done
	SchemaValid     *bool // as in Done
	Err             error // why this prompt failed, or nil
}

type batchItem struct {
	Index           int           `json:"index"`
	Text            string        `json:"text"`
	TokenIDs        []int         `json:"token_ids"`
	FinishReason    *FinishReason `json:"finish_reason"`
	TokensGenerated int           `json:"tokens_generated"`
	Complete        bool          `json:"complete,omitempty"`
	SchemaValid     *bool         `json:"schema_valid,omitempty"`
	Error           *errorBody    `json:"error"`
}

// UnmarshalJSON reads an item. It refuses one whose `token_ids` are null.
func (i *batchItem) UnmarshalJSON(text []byte) error {
	type plain batchItem // has no UnmarshalJSON of its own
	if err := json.Unmarshal(text, (*plain)(i)); err != nil {
		return err
	}
	if i.TokenIDs == nil {
		return errors.New("`token_ids` is null")
	}
	return nil
}

func readBatched(r *request, line []byte) (BatchResult, error) {
	item, err := readItem[batchItem](r, line)
	return item.result(), err
}

func (i batchItem) result() BatchResult {
	result := BatchResult{
		Index: i.Index, Text: i.Text, TokenIDs: i.TokenIDs, TokensGenerated: i.TokensGenerated,
		Complete: i.Complete, SchemaValid: i.SchemaValid,
	}
	if i.FinishReason != nil {
		result.FinishReason = *i.FinishReason
	}
	if i.Error != nil {
		failure := i.Error.err()
		failure.TokensDelivered = i.TokensGenerated
		result.Err = failure
	}
	return result
}

// Tokenized is a text as tokens. IDs and Pieces are nil if WithCountOnly asked for the count alone.
type Tokenized struct {
	IDs    []int    `json:"ids"`
	Count  int      `json:"count"`
	Pieces []string `json:"pieces"` // the text of each token
}

type detokenized struct {
	Text string `json:"text"`
}

// Outcome says what a cancel found.
type Outcome string

// An accepted cancel ends its request. A finished request had its final reply before. The worker has
// never seen an unknown id, or has forgotten it.
const (
	OutcomeAccepted Outcome = "accepted"
	OutcomeFinished Outcome = "finished"
	OutcomeUnknown  Outcome = "unknown"
)

// CancelResult says what a cancel reached. Cancelled is the number of requests.
type CancelResult struct {
	Outcome   Outcome `json:"outcome"`
	Cancelled int     `json:"cancelled"`
}

// Stage names a part of the work for a request.
type Stage string

// Later workers may have further stages.
const (
	StageQueued   Stage = "queued"
	StageCheck    Stage = "check"
	StageLoad     Stage = "load"
	StageWarmup   Stage = "warmup"
	StageCompile  Stage = "compile" // counts kernels; its total grows, since nobody knows how many will follow
	StagePrefill  Stage = "prefill"
	StageDecode   Stage = "decode"
	StageTrain    Stage = "train"
	StageEvaluate Stage = "evaluate"
	StagePrompts  Stage = "prompts"  // counts results, as the client itself does
	StageMessages Stage = "messages" // likewise
	StageTexts    Stage = "texts"    // likewise
)

// Progress says how much of a stage is done, in the stage's own unit.
type Progress struct {
	Stage Stage   `json:"stage"`
	Done  float64 `json:"done"`
	Total float64 `json:"total"`
}

type creditResult struct {
	Credit int `json:"credit"`
}

type errorReply struct {
	Error errorBody `json:"error"`
}

type eventMessage struct {
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

// Metrics are the figures of one request: counts in tokens, times in seconds, memory in bytes.
// DecodeSeconds is the time from the first token to the last, so DecodeTokensPerSecond counts the
// tokens after the first.
type Metrics struct {
	PromptTokens           int      `json:"prompt_tokens"`
	CachedTokens           int      `json:"cached_tokens"`
	CacheMiss              *string  `json:"cache_miss"` // why no earlier prompt was reused, or nil
	GeneratedTokens        int      `json:"generated_tokens"`
	ThinkingTokens         int      `json:"thinking_tokens"` // how many of these were thoughts
	QueueSeconds           float64  `json:"queue_seconds"`
	PrefillSeconds         float64  `json:"prefill_seconds"`
	DecodeSeconds          float64  `json:"decode_seconds"`
	TotalSeconds           float64  `json:"total_seconds"`
	FirstTokenSeconds      *float64 `json:"first_token_seconds"` // nil if no token was generated
	PrefillTokensPerSecond float64  `json:"prefill_tokens_per_second"`
	DecodeTokensPerSecond  float64  `json:"decode_tokens_per_second"`
	PeakMemoryBytes        uint64   `json:"peak_memory_bytes"`
	ActiveMemoryBytes      uint64   `json:"active_memory_bytes"`
	BatchSize              int      `json:"batch_size"`
}

// WorkerMetrics are sums over the worker's life, and its present state.
type WorkerMetrics struct {
	Requests               int     `json:"requests"`
	InFlight               int     `json:"in_flight"`
	Queued                 int     `json:"queued"`
	Cancelled              int     `json:"cancelled"`
	Errors                 int     `json:"errors"`
	UptimeSeconds          float64 `json:"uptime_seconds"`
	PromptTokens           int     `json:"prompt_tokens"`
	CachedTokens           int     `json:"cached_tokens"`
	GeneratedTokens        int     `json:"generated_tokens"`
	QueueSeconds           float64 `json:"queue_seconds"`
	PrefillSeconds         float64 `json:"prefill_seconds"`
	DecodeSeconds          float64 `json:"decode_seconds"`
	PrefillTokensPerSecond float64 `json:"prefill_tokens_per_second"`
	DecodeTokensPerSecond  float64 `json:"decode_tokens_per_second"`
	PeakMemoryBytes        uint64  `json:"peak_memory_bytes"`
	ActiveMemoryBytes      uint64  `json:"active_memory_bytes"`
	BatchSize              int     `json:"batch_size"`
}
