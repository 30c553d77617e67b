package mlxwire

import "encoding/json"

// A Message is one turn of a conversation, with the names of OpenAI's interface on the wire.
//
// The assistant's turn may have ToolCalls, and the thoughts that led to it as ReasoningContent; the
// template decides if it renders them. A turn of the role "tool" has a call's result as its Content, and names
// the call by ToolCallID.
type Message struct {
	Role             string     `json:"role"`
	Content          string     `json:"content"`
	ReasoningContent string     `json:"reasoning_content,omitempty"`
	ToolCalls        []TurnCall `json:"tool_calls,omitempty"`
	ToolCallID       string     `json:"tool_call_id,omitempty"`
	Name             string     `json:"name,omitempty"`
}

// UserTurn returns a conversation of one turn, the user's.
func UserTurn(content string) []Message {
	return []Message{{Role: "user", Content: content}}
}

// A TurnCall is a tool call in a turn of the assistant.
type TurnCall struct {
	ID       string         `json:"id,omitempty"`
	Function CalledFunction `json:"function"`
}

// A CalledFunction is the function that a turn called. Arguments is the text of a JSON object; the empty text
// is an empty object.
type CalledFunction struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

// A Tool is a function that the model may call. Parameters is the JSON Schema of its arguments, an
// object, in any form that encoding/json writes; nil is a function without arguments. Strict
// refuses a schema that can't be enforced whole, where a call is required.
type Tool struct {
	Name        string
	Description string
	Parameters  any
	Strict      bool
}

// MarshalJSON writes the tool in OpenAI's shape.
func (t Tool) MarshalJSON() ([]byte, error) {
	type function struct {
		Name        string `json:"name"`
		Description string `json:"description,omitempty"`
		Parameters  any    `json:"parameters,omitempty"`
		Strict      bool   `json:"strict,omitempty"`
	}
	return json.Marshal(struct {
		Type     string   `json:"type"`
		Function function `json:"function"`
	}{"function", function(t)})
}
