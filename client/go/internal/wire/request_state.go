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
	prompts int         // how many the request has, at least 1
	nextSeq int         // of the first prompt, which is the only one of most requests
	byIndex map[int]int // of each other prompt of a batch
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
	index := max(token.Index, 0)
	if index > 0 && index >= r.prompts {
		return fmt.Errorf("request %q: the worker sent a token of prompt %d, but the request has %d", r.id, index, r.prompts)
	}
	expected := r.nextSeq
	if index > 0 {
		expected = r.byIndex[index]
	}
	if token.Seq != expected {
		return fmt.Errorf("request %q: the worker sent token seq %d where %d was due", r.id, token.Seq, expected)
	}
	r.phase = streaming
	if index == 0 {
		r.nextSeq++
		return nil
	}
	if r.byIndex == nil {
		r.byIndex = make(map[int]int)
	}
	r.byIndex[index]++
	return nil
}
