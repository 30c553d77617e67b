package wire

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

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
		"progress": open, "token": streaming, "tool_call": streaming, "item": streaming,
		"done": ended, "result": ended, "error": ended,
	},
	streaming: {
		"progress": streaming, "token": streaming, "tool_call": streaming, "item": streaming,
		"done": ended, "error": ended,
	},
}

// Replies says which replies a request may have beside its progress and its final.
type Replies struct {
	// Tokens is true for a request that streams tokens.
	Tokens bool
	// ToolCalls is true for a `chat` with tools, whose answer may call them.
	ToolCalls bool
	// Prompts is how many prompts or texts a request has. Each has one item, and its tokens name it. It
	// is AnyNumber for a `discover`, and 0 for other requests, which have no items.
	Prompts int
}

// AnyNumber is the number of items of a request whose worker alone knows it.
const AnyNumber = math.MaxInt

// itemCame is the next seq of a prompt whose item has come: no token has it.
const itemCame = -1

// requestState follows the replies to one request and refuses those that the wire forbids.
type requestState struct {
	id      string
	sink    Sink
	phase   phase
	replies Replies
	nextSeq int         // of a request without a list of prompts
	byIndex map[int]int // the next seq of each prompt
	callIDs []string    // of the tool calls that have begun
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
	if !r.replies.Tokens {
		return fmt.Errorf("request %q: the worker sent a token, but the request has none", r.id)
	}
	if r.replies.Prompts > 0 {
		return r.takeSeqOfPrompt(token)
	}
	if token.Index > 0 {
		return fmt.Errorf("request %q: the worker sent a token of prompt %d, but the request has one", r.id, token.Index)
	}
	if token.Seq != r.nextSeq {
		return r.outOfTurn(token, r.nextSeq)
	}
	r.phase = streaming
	r.nextSeq++
	return nil
}

// takeSeqOfCall checks that a part of a tool call is the next message of its request. Tokens and parts
// count one seq together.
func (r *requestState) takeSeqOfCall(part *Token) error {
	if !r.replies.ToolCalls {
		return fmt.Errorf("request %q: the worker sent a tool call, but the request has no tools", r.id)
	}
	call := part.ToolCall
	switch {
	case call.Begins && call.Index != len(r.callIDs):
		return fmt.Errorf("request %q: the worker began tool call %d where %d was due", r.id, call.Index, len(r.callIDs))
	case call.Begins:
		r.callIDs = append(r.callIDs, call.CallID)
	case call.Index >= len(r.callIDs):
		return fmt.Errorf("request %q: the worker sent arguments of tool call %d, which had not begun", r.id, call.Index)
	}
	call.CallID = r.callIDs[call.Index]
	return r.takeSeq(part)
}

func (r *requestState) takeSeqOfPrompt(token *Token) error {
	if token.Index == NoIndex {
		return fmt.Errorf("request %q: the worker sent a token without the `index` of its prompt", r.id)
	}
	if token.Index >= r.replies.Prompts {
		return fmt.Errorf("request %q: the worker sent a token of prompt %d, but the request has %d", r.id, token.Index, r.replies.Prompts)
	}
	due := r.byIndex[token.Index]
	if due == itemCame {
		return fmt.Errorf("request %q: the worker sent a token of prompt %d after its item", r.id, token.Index)
	}
	if token.Seq != due {
		return r.outOfTurn(token, due)
	}
	r.phase = streaming
	r.setNext(token.Index, due+1)
	return nil
}

// takeItem checks that an item is the only one of its prompt.
func (r *requestState) takeItem(index json.RawMessage) error {
	place, err := strconv.Atoi(string(index))
	if err != nil || place < 0 || place >= r.replies.Prompts {
		return fmt.Errorf("request %q: the worker sent an item with the `index` %.40q, but the request has %d prompts", r.id, index, r.replies.Prompts)
	}
	if r.byIndex[place] == itemCame {
		return fmt.Errorf("request %q: the worker sent the item of prompt %d twice", r.id, place)
	}
	r.setNext(place, itemCame)
	return nil
}

func (r *requestState) setNext(index, seq int) {
	if r.byIndex == nil {
		r.byIndex = make(map[int]int)
	}
	r.byIndex[index] = seq
}

func (r *requestState) outOfTurn(token *Token, due int) error {
	return fmt.Errorf("request %q: the worker sent %s seq %d where %d was due", r.id, token.kind(), token.Seq, due)
}
