package wire

import (
	"encoding/json"
	"errors"
)

// NoIndex is the index of a token that belongs to no prompt of a batch.
const NoIndex = -1

// A Token is one generated token or, with Flush, text that the worker held back until the end.
type Token struct {
	Seq         int
	Text        string
	ID          int
	Flush       bool
	Index       int // the index of the prompt in a batch, otherwise NoIndex
	Channel     string
	Logprob     *float64
	TopLogprobs []TopLogprob
	// ToolCall makes this a part of a tool call, which is no token: its Text is empty, its ID is NoID, and
	// Flush is true.
	ToolCall *ToolCallPart
}

// NoID is the ID of what is no token.
const NoID = -1

func (t *Token) kind() string {
	if t.ToolCall != nil {
		return "tool_call"
	}
	return "token"
}

// TopLogprob is one of the likeliest tokens at a position. A nil Logprob means minus infinity.
type TopLogprob struct {
	Text    string
	ID      int
	Logprob *float64
}

// topLogprobMessage is a TopLogprob as the wire spells it; a missing field is noticed.
type topLogprobMessage struct {
	Text    *string   `json:"token"`
	ID      *int      `json:"token_id"`
	Logprob sentFloat `json:"logprob"`
}

// sentFloat is a number or null that was sent.
type sentFloat struct {
	value *float64
	sent  bool
}

// UnmarshalJSON reads a number or null.
func (f *sentFloat) UnmarshalJSON(text []byte) error {
	f.sent = true
	return json.Unmarshal(text, &f.value)
}

// tokenMessage is a token as the wire spells it. Its required fields are pointers, so that a missing
// one is noticed.
type tokenMessage struct {
	Type        string              `json:"type"`
	RequestID   string              `json:"id"`
	Seq         *int                `json:"seq"`
	Text        *string             `json:"token"`
	ID          *int                `json:"token_id"`
	Flush       bool                `json:"flush"`
	Index       *int                `json:"index"`
	Channel     string              `json:"channel"`
	Logprob     *float64            `json:"logprob"`
	TopLogprobs []topLogprobMessage `json:"top_logprobs"`
}

// ReadToken reads any token line. scanToken reads the common ones.
func ReadToken(line []byte) (Token, error) {
	var message tokenMessage
	if err := json.Unmarshal(line, &message); err != nil {
		return Token{}, err
	}
	if message.Seq == nil || message.Text == nil || message.ID == nil {
		return Token{}, errors.New("`seq`, `token` or `token_id` is missing")
	}
	token := Token{
		Seq: *message.Seq, Text: *message.Text, ID: *message.ID, Flush: message.Flush,
		Index: NoIndex, Channel: message.Channel,
		Logprob: message.Logprob,
	}
	for _, top := range message.TopLogprobs {
		if top.Text == nil || top.ID == nil || !top.Logprob.sent {
			return Token{}, errors.New("`token`, `token_id` or `logprob` of a likely token is missing")
		}
		token.TopLogprobs = append(token.TopLogprobs, TopLogprob{*top.Text, *top.ID, top.Logprob.value})
	}
	if message.Index != nil {
		if *message.Index < 0 {
			return Token{}, errors.New("`index` is negative")
		}
		token.Index = *message.Index
	}
	return token, nil
}
