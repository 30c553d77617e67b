package mlxwire

import (
	"fmt"
	"reflect"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// NoTokenID is the ID of a part of a tool call, which is no token.
const NoTokenID = wire.NoID

// A ToolCallDelta is a part of a tool call as it is generated: its beginning, which has a Name, or a
// fragment of its Arguments. Each part has the call's ID. The call counts only if it is among
// Done.ToolCalls at the end.
type ToolCallDelta struct {
	Index     int // counts the calls of the answer from 0
	ID        string
	Name      string // empty unless the call begins
	Arguments string // all fragments together are a JSON object
}

// A ToolCall is a complete tool call of an answer. ArgumentsOf reads its arguments.
type ToolCall struct {
	Index     int    `json:"index"` // counts the calls of the answer from 0
	ID        string `json:"call_id"`
	Name      string `json:"name"`
	Arguments string `json:"arguments"` // the text of a JSON object
	// ArgumentsError tells why the arguments do not fit the tool's parameters. It is nil if they do.
	ArgumentsError *string `json:"arguments_error"`
}

// UnmarshalJSON reads a call. It refuses one that lacks a field.
func (c *ToolCall) UnmarshalJSON(text []byte) error {
	type plain ToolCall // has no UnmarshalJSON of its own
	call, err := decodeWhole[plain](text)
	*c = ToolCall(call)
	return err
}

// A ToolError is a call that the model began and that did not become whole. Index is nil if no
// ToolCallDelta came for it. Text is all that the model wrote of it. The text is part of the answer too, unless
// the answer's end cut the call off.
type ToolError struct {
	Index   *int   `json:"index"`
	Message string `json:"message"`
	Text    string `json:"text"`
	CutOff  bool   `json:"cut_off"`
}

// UnmarshalJSON reads an error. It refuses one that lacks a field.
func (e *ToolError) UnmarshalJSON(text []byte) error {
	type plain ToolError // has no UnmarshalJSON of its own
	failed, err := decodeWhole[plain](text)
	*e = ToolError(failed)
	return err
}

// ArgumentsOf reads a call's arguments as a value of a type, such as a struct with the tags of
// encoding/json. The error is an ErrInvalidAnswer, with the arguments as Error.Answer, if they do not fit the
// tool's parameters or the type.
func ArgumentsOf[T any](call ToolCall) (T, error) {
	value, err := decodeStrictly[T](call.Arguments)
	if call.ArgumentsError != nil {
		err = fmt.Errorf("%s", *call.ArgumentsError)
	}
	if err == nil {
		return value, nil
	}
	var none T
	failure := newError(ErrInvalidAnswer, "the arguments of the tool call %s are no %s: %w", call.Name, reflect.TypeFor[T](), err)
	failure.Answer = call.Arguments
	return none, failure
}

// assistantTurn returns an answer as a turn for the next request of its conversation.
func assistantTurn(text, thoughts string, calls []ToolCall) Message {
	turn := Message{Role: "assistant", Content: text, ReasoningContent: thoughts}
	for _, call := range calls {
		turn.ToolCalls = append(turn.ToolCalls, TurnCall{
			ID: call.ID, Function: CalledFunction{Name: call.Name, Arguments: call.Arguments},
		})
	}
	return turn
}
