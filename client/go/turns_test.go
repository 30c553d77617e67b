package mlxwire

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestAConversationWithToolsIsSentInOpenAIsShape(t *testing.T) {
	sent := make(chan scriptedRequest, 1)
	_, model := startModel(t, windows, func(w *scriptedWorker) { sent <- w.tokenized() })
	conversation := []Message{
		{Role: "assistant", ReasoningContent: "hm", ToolCalls: []TurnCall{
			{ID: "c1", Function: CalledFunction{Name: "add", Arguments: `{"a":1}`}},
		}},
		{Role: "tool", Content: "2", ToolCallID: "c1", Name: "add"},
	}
	tools := WithTools(Tool{Name: "add", Description: "Add.", Parameters: map[string]any{"type": "object"}, Strict: true}, Tool{Name: "now"})

	if _, err := model.TokenizeChat(deadlined(t), conversation, tools); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"cmd=tokenize",
		"messages=[map[content: reasoning_content:hm role:assistant tool_calls:[map[function:map[arguments:{\"a\":1} name:add] id:c1]]]" +
			" map[content:2 name:add role:tool tool_call_id:c1]]",
		"tools=[map[function:map[description:Add. name:add parameters:map[type:object] strict:true] type:function]" +
			" map[function:map[name:now] type:function]]",
	}
	if got := (<-sent).fields(t); !slices.Equal(got, want) {
		t.Errorf("the client sent %q, want %q", got, want)
	}
}

func TestTheChoiceAndTheBudgetAreSentAsTheWireHasThem(t *testing.T) {
	o := applyRequestOptions([]RequestOption{
		WithToolChoice("add"), WithParallelToolCalls(false), WithThinkingBudget(0, ""),
	})
	text, err := json.Marshal(o.fields)
	want := `{"thinking":{"budget":0},"tool_choice":"add","parallel_tool_calls":false}`
	if err != nil || string(text) != want {
		t.Errorf("the fields are %s, %v; want %s", text, err, want)
	}
}
