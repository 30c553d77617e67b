package main

import (
	"strings"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// taken is what a scenario has read from a stream.
type taken struct {
	text   strings.Builder
	tokens int
	reason *string
	err    error
}

// take reads a stream to its end, or until enough returns true.
func take(stream *mlxwire.Stream, err error, enough func(tokens int) bool) *taken {
	t := &taken{err: err}
	if err != nil {
		return t
	}
	for token, err := range stream.Tokens() {
		if err != nil {
			t.err = err
			break
		}
		t.tokens++
		t.text.WriteString(token.Text)
		if enough != nil && enough(t.tokens) {
			return t
		}
	}
	if done, ok := stream.Done(); ok && t.err == nil {
		reason := string(done.FinishReason)
		t.reason = &reason
	}
	return t
}

// tell puts what was read into the scenario's result.
func (s *session) tell(t *taken) {
	s.result.Text, s.result.Tokens, s.result.FinishReason = t.text.String(), t.tokens, t.reason
	if t.err != nil {
		s.fail(t.err)
		if code := s.result.Error; code.Code == "cancelled" {
			code.TokensDelivered = t.tokens
		}
	}
}

func (s *session) generate(prompt string, options ...mlxwire.RequestOption) *taken {
	stream, err := s.model.GenerateStream(s.ctx, prompt, options...)
	return take(stream, err, nil)
}

// again sends a short request to the same worker, which must work as well as before.
func (s *session) again(prompt string, maxTokens int) {
	t := s.generate(prompt, mlxwire.WithMaxTokens(maxTokens))
	s.result.Next = &next{Outcome: "ok", Text: t.text.String()}
	if t.err != nil {
		s.result.Next.Outcome, s.result.Next.Error = "error", describe(t.err)
	}
}
