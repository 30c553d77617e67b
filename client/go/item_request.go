package mlxwire

import (
	"bytes"
	"iter"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// An item is one prompt's result of a batch or a classification, still as its line, so that the
// reader spends no time on a row of logits; or a token of a batch.
type item struct {
	line  []byte
	token *Token
}

// newItemReplies are those of batch and classify.
func newItemReplies(conn *connection, command string, o *requestOptions, onDone func(Done)) *itemReplies {
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
