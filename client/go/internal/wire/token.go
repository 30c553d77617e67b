package wire

import (
	"encoding/json"
	"errors"
)

// NoIndex is the index of a token that belongs to no prompt of a batch.
const NoIndex = -1

// A Token is one generated token, or with Flush text that was held back until the end.
type Token struct {
	Seq         int
	Text        string
	ID          int
	Flush       bool
	Index       int // the prompt's in a batch, else NoIndex
	Channel     string
	Logprob     *float64
	TopLogprobs []TopLogprob
}

// TopLogprob is one of the likeliest tokens at a place; a nil Logprob is minus infinity.
type TopLogprob struct {
	Text    string   `json:"token"`
	ID      int      `json:"token_id"`
	Logprob *float64 `json:"logprob"`
}

// tokenMessage is a token as the wire spells it. What is required is a pointer, so that its
// absence shows.
type tokenMessage struct {
	Type        string       `json:"type"`
	RequestID   string       `json:"id"`
	Seq         *int         `json:"seq"`
	Text        *string      `json:"token"`
	ID          *int         `json:"token_id"`
	Flush       bool         `json:"flush"`
	Index       *int         `json:"index"`
	Channel     string       `json:"channel"`
	Logprob     *float64     `json:"logprob"`
	TopLogprobs []TopLogprob `json:"top_logprobs"`
}

// ReadToken reads any token line. The common one is read by scanToken.
func ReadToken(line []byte) (Token, error) {
	var message tokenMessage
	if err := json.Unmarshal(line, &message); err != nil {
		return Token{}, err
	}
	if message.Seq == nil || message.Text == nil || message.ID == nil {
		return Token{}, errors.New("it lacks `seq`, `token` or `token_id`")
	}
	token := Token{
		Seq: *message.Seq, Text: *message.Text, ID: *message.ID, Flush: message.Flush,
		Index: NoIndex, Channel: message.Channel,
		Logprob: message.Logprob, TopLogprobs: message.TopLogprobs,
	}
	if message.Index != nil {
		if *message.Index < 0 {
			return Token{}, errors.New("its `index` is negative")
		}
		token.Index = *message.Index
	}
	return token, nil
}
