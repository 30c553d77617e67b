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

// transitions says which reply may come when; anything else is a violation.
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

// requestState follows the replies to one request and refuses what the wire forbids.
type requestState struct {
	id      string
	sink    Sink
	phase   phase
	nextSeq int
	// byIndex counts instead of nextSeq where tokens name a prompt, as in a batch.
	byIndex map[int]int
}

// advance takes one reply's type and whether it is final.
func (r *requestState) advance(kind string, final bool) error {
	if _, known := transitions[open][kind]; !known { // ignored, unless it ends the request (SPEC §2)
		if final {
			r.phase = ended
		}
		return nil
	}
	next, legal := transitions[r.phase][kind]
	if !legal {
		return fmt.Errorf("request %q: `%s` may not come while the request is %s", r.id, kind, r.phase)
	}
	if (next == ended) != final {
		return fmt.Errorf("request %q: `%s` carries the wrong `final`", r.id, kind)
	}
	r.phase = next
	return nil
}

// takeSeq checks that a token is the next of its request, or of its prompt in a batch.
func (r *requestState) takeSeq(token *Token) error {
	expected := r.nextSeq
	if token.Index >= 0 {
		expected = r.byIndex[token.Index]
	}
	if token.Seq != expected {
		return fmt.Errorf("request %q: token seq %d where %d was due", r.id, token.Seq, expected)
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
