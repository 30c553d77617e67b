package wire

import (
	"encoding/json"
	"errors"
)

// A ToolCallPart is the beginning of a tool call, which has CallID and Name, or a fragment of its
// arguments. CallID is that of its beginning.
type ToolCallPart struct {
	Index     int
	Begins    bool
	CallID    string
	Name      string
	Arguments string
}

// toolCallMessage is a part as the wire spells it. A missing field is nil.
type toolCallMessage struct {
	Seq       *int    `json:"seq"`
	Index     *int    `json:"index"`
	CallID    *string `json:"call_id"`
	Name      *string `json:"name"`
	Arguments *string `json:"arguments"`
}

// ReadToolCall reads a line of the type tool_call.
func ReadToolCall(line []byte) (Token, error) {
	var message toolCallMessage
	if err := json.Unmarshal(line, &message); err != nil {
		return Token{}, err
	}
	begins := message.CallID != nil
	switch {
	case message.Seq == nil || message.Index == nil:
		return Token{}, errors.New("`seq` or `index` is missing")
	case *message.Index < 0:
		return Token{}, errors.New("`index` is negative")
	case begins != (message.Name != nil):
		return Token{}, errors.New("it has only one of `call_id` and `name`")
	case !begins && message.Arguments == nil:
		return Token{}, errors.New("it has neither `call_id` and `name` nor `arguments`")
	}
	part := &ToolCallPart{Index: *message.Index, Begins: begins}
	if begins {
		part.CallID, part.Name = *message.CallID, *message.Name
	}
	if message.Arguments != nil {
		part.Arguments = *message.Arguments
	}
	return Token{Seq: *message.Seq, ID: NoID, Flush: true, Index: NoIndex, ToolCall: part}, nil
}
