package mlxwire

import (
	"errors"
	"iter"
	"strings"
)

// errLeft is what a stream gives that was closed before its end.
var errLeft = errors.New("mlxwire: the stream was closed before its end")

// A Stream is what one Generate or Chat brings, as GenerateStream and ChatStream give it. It is
// for one consumer and one pass. Close it, or end its context, or take it to its end; one that
// takes its time holds back this stream in the worker, and no other.
type Stream struct {
	replies *replies[Token]
}

// ID is the request's id, for Worker.CancelRequest.
func (s *Stream) ID() string { return s.replies.request.id }

// Tokens gives each token as it comes. It ends with an error, or after the last token without
// one; Done tells how then. Leaving the range cancels the request in the worker. The context's
// own error comes back where that ended the stream; one that was cancelled by another call ends
// with an error that is context.Canceled too.
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
			if !yield(token, nil) {
				s.replies.abandon()
				return
			}
		}
	}
}

// Text takes all of the plain text at once; other channels, such as thinking, are left out.
func (s *Stream) Text() (string, error) {
	var text strings.Builder
	for token, err := range s.Tokens() {
		if err != nil {
			return text.String(), err
		}
		if token.Channel == "" {
			text.WriteString(token.Text)
		}
	}
	return text.String(), nil
}

// Done is how the stream ended; false while it has not, and where it failed.
func (s *Stream) Done() (Done, bool) { return s.replies.ending() }

// Delivered is how many tokens its consumer has been given.
func (s *Stream) Delivered() int { return s.replies.tokens }

// Close cancels what is left and waits for the worker to confirm. The error is an
// ErrDrainTimeout: it did not.
func (s *Stream) Close() error { return s.replies.close() }

// A BatchStream is what the prompts of one BatchStream call become, in the order in which they
// end. It is used like a Stream.
type BatchStream struct {
	replies *itemReplies
	onToken func(Token)
}

// ID is the request's id, for Worker.CancelRequest.
func (s *BatchStream) ID() string { return s.replies.request.id }

// Results gives each prompt's result as it ends. A prompt that fails has its own Err and costs
// the others nothing. Errors are those of Stream.Tokens.
func (s *BatchStream) Results() iter.Seq2[BatchResult, error] {
	return func(yield func(BatchResult, error) bool) {
		for item, err := range s.replies.items(s.onToken) {
			var result BatchResult
			if err == nil {
				var reply batchItem
				reply, err = decodeReply[batchItem](item)
				result = reply.result()
			}
			if !yield(result, err) || err != nil {
				s.replies.abandon()
				return
			}
		}
	}
}

// Done is how the batch ended; false while it has not, and where it failed.
func (s *BatchStream) Done() (Done, bool) { return s.replies.ending() }

// Close cancels what is left and waits for the worker to confirm. The error is an
// ErrDrainTimeout: it did not.
func (s *BatchStream) Close() error { return s.replies.close() }
