package mlxwire

import (
	"bytes"
	"context"
	"iter"
	"sync/atomic"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// messageOverhead is what a buffered message costs beside its text.
const messageOverhead = 128

// replies is the buffer between the connection's reader, which fills it and never waits, and
// one consumer. A worker that knows windows sends no further than it was given credit, so a
// consumer that sleeps holds back its own stream and nothing else.
type replies[T any] struct {
	ctx     context.Context
	request *request
	limit   int // bytes
	unwatch func() bool
	left    atomic.Bool // what is buffered is not wanted any more
	onDone  func(Done)

	// Guarded by the request's lock.
	incoming []T
	weight   int
	done     *Done

	// The consumer's own.
	batch  []T
	at     int
	window window
	tokens int // taken by the consumer; text that was held back is none of them (SPEC §5)
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
	// Also for a consumer that is busy elsewhere when its context ends.
	r.unwatch = context.AfterFunc(ctx, func() { r.leave(ctx.Err()) })
	return nil
}

// push buffers what came. It is called with the request's lock held.
func (r *replies[T]) push(message T, bytes int) error {
	r.incoming = append(r.incoming, message)
	r.weight += bytes + messageOverhead
	if r.weight > r.limit {
		return newError(ErrSlowConsumer,
			"%d messages waited to be taken, more than the %d bytes that a stream may hold; the request was cancelled. "+
				"Take them faster, or see WithBufferBytes", len(r.incoming), r.limit)
	}
	return nil
}

// next gives what came, in order, and waits for it; false at the end, with what ended it.
func (r *replies[T]) next() (message T, ok bool, err error) {
	if err := r.ctx.Err(); err != nil {
		r.leave(err) // AfterFunc may come a moment later
	}
	for r.at == len(r.batch) || r.left.Load() {
		more, err := r.refill()
		if !more {
			r.unwatch()
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

// refill takes all that is here, or waits for the next change.
func (r *replies[T]) refill() (more bool, err error) {
	clear(r.batch) // what was taken may be collected
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
	case ended && done == nil:
		return false, newError(ErrProtocolViolation,
			"`%s` ended with `%s` where `%s` was due", q.command.Name, q.kind, q.command.Final)
	case ended && done.FinishReason == FinishCancelled:
		return false, q.cancelledElsewhere()
	case ended:
		return false, nil
	}
	return true, q.wait(r.ctx)
}

// leave cancels the rest; err is what the consumer gets from now on.
func (r *replies[T]) leave(err error) { r.request.leave(err) }

// abandon is the consumer's own leave, which makes the context's end nothing to watch for: a
// context that lives long would keep all streams that were ever left.
func (r *replies[T]) abandon() {
	r.unwatch()
	r.leave(errLeft)
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
	done, err := decodeReply[Done](line)
	if err != nil {
		if r.request.err == nil {
			r.request.err = err
		}
		return
	}
	r.done = &done
	if r.onDone != nil {
		r.onDone(done)
	}
}

// ending is how the request ended, once it has.
func (r *replies[T]) ending() (Done, bool) {
	r.request.mu.Lock()
	defer r.request.mu.Unlock()
	if r.done == nil {
		return Done{}, false
	}
	return *r.done, true
}

// close cancels what is left and waits for the worker's final.
func (r *replies[T]) close() error {
	r.abandon()
	return r.request.awaitDrained()
}

// newTokenReplies are those of generate and chat.
func newTokenReplies(conn *connection, command *wire.Command, o *requestOptions, onDone func(Done)) *replies[Token] {
	r := &replies[Token]{onDone: onDone}
	r.request = newRequest(conn, command, requestHooks{
		token: func(token *wire.Token) error {
			likely := len(token.TopLogprobs) * messageOverhead
			return r.push(tokenFromWire(token), len(token.Text)+likely)
		},
		progress: o.onProgress,
	})
	return r
}

// An item is one prompt's result of a batch or a classification, still as its line, so that the
// reader spends no time on a row of logits; or a token of a batch.
type item struct {
	line  []byte
	token *Token
}

// newItemReplies are those of batch and classify.
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

// itemReplies are results, with the tokens of a batch between them.
type itemReplies struct{ replies[item] }

// items gives each result's line; tokens go to onToken as they come.
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
				if onToken != nil {
					onToken(*next.token)
				}
			case !yield(next.line, nil):
				return
			}
		}
	}
}
