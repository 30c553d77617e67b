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
			if !yield(token, nil) {
				s.replies.abandon()
				return
			}
		}
	}
}

// Text reads the stream to its end and returns the plain text. It leaves out other channels, such
// as thinking.
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

// Done returns how the stream ended. It returns false before the end and after a failure.
func (s *Stream) Done() (Done, bool) { return s.replies.ending() }

// Delivered returns how many tokens the consumer has received.
func (s *Stream) Delivered() int { return s.replies.tokens }

// Close cancels the rest of the stream and waits until the worker confirms. A range over the stream that
// still runs ends with an ErrCancelled whose cause is ErrStreamClosed. The error of Close is
// ErrDrainTimeout if the worker does not confirm in time (WithDrainTimeout).
func (s *Stream) Close() error { return s.replies.close() }

// A BatchStream is the answer to one request of Model.BatchStream: one result for each prompt, in
// the order in which they end. The rules of Stream hold for it.
type BatchStream struct {
	replies *itemReplies
	onToken func(Token)
}

// ID returns the request's id, for Worker.CancelRequest.
func (s *BatchStream) ID() string { return s.replies.request.id }

// Results gives each prompt's result as it ends. A prompt that fails has its own Err; the others go
// on. Errors of the whole request are those of Stream.Tokens.
func (s *BatchStream) Results() iter.Seq2[BatchResult, error] {
	return func(yield func(BatchResult, error) bool) {
		for item, err := range s.replies.items(s.onToken) {
			var result BatchResult
			if err == nil {
				var reply batchItem
				reply, err = readItem[batchItem](s.replies.request, item)
				result = reply.result()
			}
			if !yield(result, err) || err != nil {
				s.replies.abandon()
				return
			}
		}
	}
}

// Done returns how the batch ended. It returns false before the end and after a failure.
func (s *BatchStream) Done() (Done, bool) { return s.replies.ending() }

// Close cancels the rest of the batch and waits until the worker confirms. The error is
// ErrDrainTimeout if the worker does not confirm in time (WithDrainTimeout).
func (s *BatchStream) Close() error { return s.replies.close() }

// A ClassifyStream is the answer to one request of Model.ClassifyStream: one result for each prompt,
// in the order in which the worker computes them. The rules of Stream hold for it.
type ClassifyStream struct {
	replies *itemReplies
}

// ID returns the request's id, for Worker.CancelRequest.
func (s *ClassifyStream) ID() string { return s.replies.request.id }

// Results gives each prompt's result. Errors are those of Stream.Tokens.
func (s *ClassifyStream) Results() iter.Seq2[ClassifyResult, error] {
	return func(yield func(ClassifyResult, error) bool) {
		for line, err := range s.replies.items(nil) {
			var result ClassifyResult
			if err == nil {
				result, err = readItem[ClassifyResult](s.replies.request, line)
			}
			if !yield(result, err) || err != nil {
				s.replies.abandon()
				return
			}
		}
	}
}

// Done returns how the classification ended. It returns false before the end and after a failure.
func (s *ClassifyStream) Done() (Done, bool) { return s.replies.ending() }

// Close cancels the rest of the classification and waits until the worker confirms. The error is
// ErrDrainTimeout if the worker does not confirm in time (WithDrainTimeout).
func (s *ClassifyStream) Close() error { return s.replies.close() }
