package mlxwire

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"slices"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// An ItemStream is the answer to one request with a result for each prompt, text or model, in the order
// in which they are complete. The rules of Stream hold for it.
type ItemStream[T any] struct {
	replies *itemReplies
	read    func(*request, []byte) (T, error)
	onToken func(Token)
	onItem  func()
}

// The streams of requests with many results. Where one prompt or text fails by itself, its result has an
// Err, and the others go on.
type (
	// A BatchStream gives the text that continues each prompt, in the order in which they end.
	BatchStream = ItemStream[BatchResult]
	// A ClassifyStream gives the next token of each prompt or conversation.
	ClassifyStream = ItemStream[ClassifyResult]
	// An EmbedStream gives the vector of each text.
	EmbedStream = ItemStream[Embedding]
	// A ScoreStream gives the log-probabilities of each text's tokens.
	ScoreStream = ItemStream[ScoreResult]
	// A DiscoverStream gives each model that is found, and each that is broken.
	DiscoverStream = ItemStream[FoundModel]
)

// ID returns the request's id, for Worker.CancelRequest.
func (s *ItemStream[T]) ID() string { return s.replies.request.id }

// Results gives each result as it is complete. Errors of the whole request are those of Stream.Tokens.
func (s *ItemStream[T]) Results() iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for line, err := range s.replies.items(s.onToken) {
			var result T
			if err == nil {
				result, err = s.read(s.replies.request, line)
			}
			if err == nil && s.onItem != nil {
				s.onItem()
			}
			if !yield(result, err) || err != nil {
				s.replies.abandon()
				return
			}
		}
	}
}

// Done returns how the request ended. It returns false before the end and after a failure.
func (s *ItemStream[T]) Done() (Done, bool) { return s.replies.ending() }

// Close cancels the rest of the request and waits until the worker confirms. The error is
// ErrDrainTimeout if the worker does not confirm in time (WithDrainTimeout).
func (s *ItemStream[T]) Close() error { return s.replies.close() }

// openItems sends a request on a process and returns its stream. count is how many prompts or texts it
// has, which are called stage in reports of progress.
func openItems[T any](
	ctx context.Context, c *connection, command *wire.Command, o *requestOptions, fields any, onDone func(Done),
	read func(*request, []byte) (T, error), stage Stage, count int,
) (*ItemStream[T], error) {
	replies := newItemReplies(c, command, o, onDone)
	if err := replies.start(ctx, fields); err != nil {
		return nil, err
	}
	stream := &ItemStream[T]{replies: replies, read: read, onToken: o.onToken}
	if o.onProgress != nil {
		done := 0
		stream.onItem = func() {
			done++
			o.onProgress(Progress{Stage: stage, Done: float64(done), Total: float64(count)})
		}
	}
	return stream, nil
}

// inOrder reads a stream to its end and sorts its results by their index. Results that came before an
// error are returned with it.
func inOrder[T any](stream *ItemStream[T], err error, index func(T) int) ([]T, error) {
	if err != nil {
		return nil, err
	}
	results, err := collect(stream.Results())
	slices.SortFunc(results, func(a, b T) int { return cmp.Compare(index(a), index(b)) })
	return results, err
}

// A failedItem is the item of a prompt or a text that failed by itself.
type failedItem struct {
	Index int        `json:"index"`
	Error *errorBody `json:"error,omitempty"`
}

// orFailed returns a reader of items. failed makes the result of one that failed by itself.
func orFailed[T any](failed func(index int, failure error) T) func(*request, []byte) (T, error) {
	return func(r *request, line []byte) (T, error) {
		if bytes.Contains(line, []byte(`"error"`)) { // most have none, and may hold a long row of numbers
			item, err := readItem[failedItem](r, line)
			if err != nil {
				var none T
				return none, err
			}
			if item.Error != nil {
				failure := item.Error.err()
				failure.Message = nameOptions(failure.Message, r.fields)
				return failed(item.Index, failure), nil
			}
		}
		return readItem[T](r, line)
	}
}
