package mlxwire

import (
	"iter"
	"strings"
)

// A Stream is the answer to one request of GenerateStream or ChatStream. One consumer may read it,
// once. Read it to its end, close it, or end its context. A consumer that reads slowly holds back
// its own stream in the worker and no other.
type Stream struct {
	replies *replies[Token]

	// These are what the consumer has read so far. forgets is true for a stream that only has a range.
	text, thoughts strings.Builder
	forgets        bool
}

// ID returns the request's id, for Worker.CancelRequest.
func (s *Stream) ID() string { return s.replies.request.id }

// Tokens gives each token as it arrives. An error comes last, without a token. After the last
// token without an error, Done says why the text ended. Leaving the range cancels the request in
// the worker.
//
// The range ends without an error only after a complete answer. If the context ended the stream, the
// error is the context's. If CancelRequest, or a close of the stream or the worker, cut the stream, it
// is an ErrCancelled; if the worker died, an ErrWorkerCrashed. If the whole answer had arrived before,
// the range gives all of it nevertheless, unless the context ends or the stream is closed. A second
// range over a stream gives an error whose cause is ErrStreamClosed.
func (s *Stream) Tokens() iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		for {
			token, ok, err := s.replies.next()
			if err != nil {
				yield(Token{}, err)
				return
			}
			if !ok {
				return
			}
			if !s.forgets {
				s.keep(&token)
			}
			if !yield(token, nil) {
				s.replies.abandon()
				return
			}
		}
	}
}

// keep adds a token to what was read.
func (s *Stream) keep(token *Token) {
	switch token.Channel {
	case "":
		s.text.WriteString(token.Text)
	case ChannelThinking:
		s.thoughts.WriteString(token.Text)
	}
}

// readOn reads the stream to its end. It returns the error that ended the stream, if any.
func (s *Stream) readOn() error {
	if s.replies.ended {
		return nil
	}
	for _, err := range s.Tokens() {
		if err != nil {
			return err
		}
	}
	return nil
}

// Text reads the stream to its end and returns the answer's text, without thoughts and tool calls.
//
// Text, Thoughts, ToolCalls and Message are of the whole answer, with what was ranged over before, and
// may be called in any order and again. Their error is that of Tokens; Text and Thoughts then return what had arrived.
func (s *Stream) Text() (string, error) {
	err := s.readOn()
	return s.text.String(), err
}

// Thoughts reads the stream to its end and returns the model's thoughts, which are no part of the text.
func (s *Stream) Thoughts() (string, error) {
	err := s.readOn()
	return s.thoughts.String(), err
}

// ToolCalls reads the stream to its end and returns the complete tool calls. Done has the ToolError
// too.
func (s *Stream) ToolCalls() ([]ToolCall, error) {
	if err := s.readOn(); err != nil {
		return nil, err
	}
	done, _ := s.Done()
	return done.ToolCalls, nil
}

// Message reads the stream to its end and returns the answer as the assistant's turn: its text, thoughts
// and tool calls. Append it to the conversation for the next request, and a turn of the role "tool" for
// each call.
func (s *Stream) Message() (Message, error) {
	calls, err := s.ToolCalls()
	if err != nil {
		return Message{}, err
	}
	return assistantTurn(s.text.String(), s.thoughts.String(), calls), nil
}

// Done returns how the stream ended. It returns false before the end and after a failure.
func (s *Stream) Done() (Done, bool) { return s.replies.ending() }

// Delivered returns how many tokens the consumer has received.
func (s *Stream) Delivered() int { return s.replies.tokens }

// Close cancels the rest of the stream and waits until the worker confirms. A range over the stream that
// still runs ends with an ErrCancelled whose cause is ErrStreamClosed. The error of Close is
// ErrDrainTimeout if the worker does not confirm in time (WithDrainTimeout).
func (s *Stream) Close() error { return s.replies.close() }
