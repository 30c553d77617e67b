package mlxwire

import (
	"bytes"
	"context"
	"iter"
	"sync/atomic"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// Theory of operation
//
// replies is the buffer of a request that streams. The connection's reader fills incoming and
// never waits; one consumer takes from batch, which it exchanges for incoming when it has taken
// all of it. So the lock is taken once for many messages.
//
// Flow control: a worker that knows windows sends only as many messages as it has credit for.
// The consumer grants credit as it takes (window.go), so a consumer that stops holds back its own
// stream and no other. A worker without windows is bounded by limit: push then ends the stream
// with ErrSlowConsumer.
//
// Order of events: start sends the request, then watches the context, so that the end of the
// context cancels even if the consumer is busy elsewhere. next gives messages until the final
// reply; messages that arrived before the final are given first. After leave, next returns no
// buffered message any more: left is checked for every message.
//
// Hazard: the reader calls push, drop and takeFinal with the request's lock held. ctx, unwatch,
// batch, at, window and tokens belong to the consumer alone.

// messageOverhead is how many bytes a buffered message is counted for beside its text.
const messageOverhead = 128

// replies buffers the messages of a request that streams, for one consumer.
type replies[T any] struct {
	ctx     context.Context
	request *request
	limit   int // bytes
	unwatch func() bool
	left    atomic.Bool // the caller has left: drop what is buffered
	onDone  func(Done)

	// Guarded by the request's lock.
	incoming []T
	weight   int
	done     *Done

	// The consumer's own.
	batch  []T
	at     int
	window window
	ended  bool // the consumer has seen the end
	tokens int  // how many the consumer has taken, without text that was held back (SPEC §5)
}

// start sends the request.
func (r *replies[T]) start(ctx context.Context, fields any) error {
	conn := r.request.conn
	r.ctx = ctx
	r.limit = conn.options.bufferBytes
	r.window = newWindow(conn.window())
	r.request.hooks.left = r.drop
	r.request.hooks.final = r.takeFinal
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := conn.send(r.request, fields); err != nil {
		return err
	}
	// Cancels even if the consumer is busy elsewhere when its context ends.
	r.unwatch = context.AfterFunc(ctx, func() { r.leave(ctx.Err()) })
	return nil
}

// push buffers a message. It is called with the request's lock held.
func (r *replies[T]) push(message T, bytes int) error {
	r.incoming = append(r.incoming, message)
	r.weight += bytes + messageOverhead
	if r.weight > r.limit {
		return newError(ErrSlowConsumer,
			"%d messages waited for their consumer and need more than the %d bytes that a stream may buffer, so the client "+
				"cancelled the request. Read the stream faster, or raise WithBufferBytes", len(r.incoming), r.limit)
	}
	return nil
}

// next waits for the next message. It returns false at the end of the stream, with the error that
// ended it, if any.
func (r *replies[T]) next() (message T, ok bool, err error) {
	if r.ended {
		return message, false, delivered(readStream(), r.tokens)
	}
	if err := r.ctx.Err(); err != nil {
		r.leave(err) // AfterFunc may run a moment later
	}
	for r.at == len(r.batch) || r.left.Load() {
		more, err := r.refill()
		if !more {
			r.unwatch()
			r.ended = err == nil
			return message, false, delivered(err, r.tokens)
		}
	}
	message = r.batch[r.at]
	r.at++
	if !isHeldBack(message) {
		r.tokens++
	}
	if credit := r.window.take(); credit > 0 {
		r.request.conn.tell(wire.Credit, creditFields{Target: r.request.id, N: credit})
	}
	return message, true, nil
}

func isHeldBack(message any) bool {
	token, ok := message.(Token)
	return ok && token.Flush
}

// refill takes all messages that have arrived, or waits for the next change. It returns false at
// the end of the stream.
func (r *replies[T]) refill() (more bool, err error) {
	clear(r.batch) // so that the garbage collector can free the messages
	r.at, r.batch = 0, r.batch[:0]
	q := r.request
	q.mu.Lock()
	r.batch, r.incoming = r.incoming, r.batch
	r.weight = 0
	ended, err, done := q.phase == over, q.err, r.done
	q.mu.Unlock()
	q.tellProgress()
	switch {
	case len(r.batch) > 0:
		return true, nil
	case err != nil:
		return false, err
	case ended && done.FinishReason == FinishCancelled:
		return false, q.cancelledElsewhere()
	case ended:
		return false, nil
	}
	return true, q.wait(r.ctx)
}

// leave cancels the request. The consumer's next call ends with err.
func (r *replies[T]) leave(err error) { r.request.leave(err) }

// abandon cancels the stream because its consumer stops reading. It also stops watching the
// context, because a context that lives long would otherwise keep every abandoned stream in memory.
func (r *replies[T]) abandon() {
	r.unwatch()
	r.leave(closedStream())
}

// drop is called with the request's lock held.
func (r *replies[T]) drop() {
	r.left.Store(true)
	r.incoming, r.weight = nil, 0
}

// takeFinal is called with the request's lock held.
func (r *replies[T]) takeFinal(kind string, line []byte) {
	if kind != r.request.command.Final {
		return
	}
	done, _ := decodeReply[Done](line) // checkFinal has refused a line that can't be read
	r.done = &done
	if r.onDone != nil {
		r.onDone(done)
	}
}

// ending returns how the request ended. It returns false before that, and after a failure.
func (r *replies[T]) ending() (Done, bool) {
	r.request.mu.Lock()
	defer r.request.mu.Unlock()
	if r.done == nil {
		return Done{}, false
	}
	return *r.done, true
}

// close cancels the request and waits for its final reply.
func (r *replies[T]) close() error {
	r.abandon()
	return r.request.awaitDrained()
}

// newTokenReplies returns the buffer of a generate or chat request.
func newTokenReplies(conn *connection, command *wire.Command, o *requestOptions, onDone func(Done)) *replies[Token] {
	r := &replies[Token]{onDone: onDone}
	r.request = newRequest(conn, command, requestHooks{
		token: func(token *wire.Token) error {
			size := len(token.Text) + len(token.TopLogprobs)*messageOverhead
			if part := token.ToolCall; part != nil {
				size += len(part.Name) + len(part.Arguments)
			}
			return r.push(tokenFromWire(token), size)
		},
		progress: o.onProgress,
	})
	return r
}

// An item is one prompt's result in a batch or classification, or a token of a batch. The result
// stays a line until the consumer takes it, so that the reader spends no time on a row of logits.
type item struct {
	line  []byte
	token *Token
}

// newItemReplies returns the buffer of a batch or classify request.
func newItemReplies(conn *connection, command *wire.Command, o *requestOptions, onDone func(Done)) *itemReplies {
	r := &itemReplies{replies[item]{onDone: onDone}}
	r.request = newRequest(conn, command, requestHooks{
		token: func(token *wire.Token) error {
			own := tokenFromWire(token)
			return r.push(item{token: &own}, len(token.Text)+messageOverhead)
		},
		item: func(line []byte) error {
			return r.push(item{line: bytes.Clone(line)}, len(line))
		},
		progress: o.onProgress,
	})
	return r
}

// itemReplies buffers results, with the tokens of a batch between them.
type itemReplies struct{ replies[item] }

// items gives each result's line, and calls onToken with each token, which comes only if it was asked for.
func (r *itemReplies) items(onToken func(Token)) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for {
			next, ok, err := r.next()
			switch {
			case err != nil:
				yield(nil, err)
				return
			case !ok:
				return
			case next.token != nil:
				onToken(*next.token)
			case !yield(next.line, nil):
				return
			}
		}
	}
}

// readItem reads one prompt's result. It ends the worker for an item that the wire forbids.
func readItem[T any](r *request, line []byte) (T, error) {
	reply, err := decodeReply[T](line)
	if err != nil {
		var none T
		return none, r.conn.violated(err)
	}
	return reply, nil
}
