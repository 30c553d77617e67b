package wire

import "fmt"

type phase uint8

const (
	open phase = iota
	streaming
	ended
)

func (p phase) String() string {
	return [...]string{"open", "streaming", "ended"}[p]
}

// transitions lists which reply may come in which phase. Any other reply breaks the rules.
var transitions = map[phase]map[string]phase{
	open: {
		"progress": open, "token": streaming, "item": streaming,
		"done": ended, "result": ended, "error": ended,
	},
	streaming: {
		"progress": streaming, "token": streaming, "item": streaming,
		"done": ended, "error": ended,
	},
}

// requestState follows the replies to one request and refuses those that the wire forbids.
type requestState struct {
	id      string
	sink    Sink
	phase   phase
	nextSeq int
	// byIndex holds the next seq of each prompt, for tokens of a batch, which name their prompt.
	byIndex map[int]int
}

// advance checks the type of one reply, and whether it is final, against the table.
func (r *requestState) advance(kind string, final bool) error {
	if _, known := transitions[open][kind]; !known { // an unknown type is ignored unless it is final (SPEC §2)
		if final {
			r.phase = ended
		}
		return nil
	}
	next, legal := transitions[r.phase][kind]
	if !legal {
		return fmt.Errorf("request %q: the worker sent `%s`, which is not allowed while the request is %s", r.id, kind, r.phase)
	}
	if (next == ended) != final {
		return fmt.Errorf("request %q: the worker sent `%s` with the wrong `final`", r.id, kind)
	}
	r.phase = next
	return nil
}

// takeSeq checks that a token is the next one of its request, or of its prompt in a batch.
func (r *requestState) takeSeq(token *Token) error {
	expected := r.nextSeq
	if token.Index >= 0 {
		expected = r.byIndex[token.Index]
	}
	if token.Seq != expected {
		return fmt.Errorf("request %q: the worker sent token seq %d where %d was due", r.id, token.Seq, expected)
	}
	r.phase = streaming
	if token.Index < 0 {
		r.nextSeq++
		return nil
	}
	if r.byIndex == nil {
		r.byIndex = make(map[int]int)
	}
	r.byIndex[token.Index]++
	return nil
}
