package mlxwire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

type sumArguments struct {
	A    int      `json:"a" jsonschema:"The first number, in metres,minimum=0"`
	B    int      `json:"b"`
	Unit string   `json:"unit,omitempty" jsonschema:"enum=m,enum=km"`
	Tags []*label `json:"tags,omitempty"`
}

type label struct {
	Text string `json:"text"`
}

type sumResult struct {
	Sum int `json:"sum"`
}

// addFunc notes its calls. It fails for a negative b, and returns a text for b = 0.
func addFunc(calls *[]sumArguments) ToolFunc {
	return NewToolFunc("add", "Add two numbers.", func(_ context.Context, given sumArguments) (any, error) {
		*calls = append(*calls, given)
		switch {
		case given.B < 0:
			return nil, errors.New("b is negative")
		case given.B == 0:
			return colour("just a"), nil
		}
		return sumResult{given.A + given.B}, nil
	})
}

// called returns what makes the mock call a tool, as it echoes its prompt.
func called(name, arguments string) string {
	return fmt.Sprintf(`<tool_call>{"name": %q, "arguments": %s}</tool_call>`, name, arguments)
}

func TestRunToolsRunsWhatTheModelCallsUntilItAnswers(t *testing.T) {
	_, model := startMock(t)
	for _, c := range []struct{ asked, answer, finishes string }{
		{called("add", `{"a": 1, "b": 2}`), `{"sum":3}`, "tool"},
		{called("add", `{"a": 1, "b": 0}`), "just a", "tool"},
		{called("add", `{"a": 1, "b": -2}`), "error: b is negative", "tool"},
		{called("add", `{"a": 1, "b": 2, "c": 3}`), "error: the arguments are not valid: ", "tool"},
		{"no call", "no call", "user"},
		{called("sub", `{}`), "error: a tool call was not run: the model called `sub`, which is not in `tools`; the tools are: add", "told"},
	} {
		var calls []sumArguments
		heard := ""
		answer, err := RunTools(deadlined(t), model, UserTurn(c.asked), []ToolFunc{addFunc(&calls)},
			WithMaxTokens(200), WithOnToken(func(token Token) { heard += token.Text }))
		if err != nil || !strings.HasPrefix(answer.Text, c.answer) || !strings.HasSuffix(heard, answer.Text) {
			t.Errorf("%s gave %q after %q, %v", c.asked, answer.Text, heard, err)
			continue
		}
		last := answer.Messages[len(answer.Messages)-2:]
		if c.finishes == "told" {
			if len(answer.Messages) != 4 || answer.Messages[1].Content != c.asked || answer.Rounds != 2 {
				t.Errorf("%s gave the conversation %+v in %d rounds", c.asked, answer.Messages, answer.Rounds)
			}
			c.finishes = "user"
		}
		if last[0].Role != c.finishes || last[1].Role != "assistant" || last[1].Content != answer.Text || answer.Done.FinishReason != FinishStop {
			t.Errorf("%s gave the conversation %+v", c.asked, answer.Messages)
		}
		if c.finishes == "tool" {
			if call := answer.Messages[1].ToolCalls; len(call) != 1 || last[0].ToolCallID != call[0].ID || answer.Rounds != 2 {
				t.Errorf("%s gave the calls %+v in %d rounds", c.asked, call, answer.Rounds)
			}
		}
		if valid := strings.HasPrefix(c.answer, "{") || c.answer == "just a" || strings.HasSuffix(c.answer, "negative"); valid != (len(calls) == 1) {
			t.Errorf("%s ran the function with %+v", c.asked, calls)
		}
	}
}

func TestTheModelIsToldWhyArgumentsDoNotFitATool(t *testing.T) {
	second := make(chan scriptedRequest, 1)
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		callsTools(w)
		request := w.next("chat")
		second <- request
		w.token(request.ID, 0)
		w.done(request.ID, "stop")
	})
	var calls []sumArguments
	answer, err := RunTools(deadlined(t), model, UserTurn("?"), []ToolFunc{addFunc(&calls)})
	if err != nil || answer.Text != "t0" || len(calls) != 1 {
		t.Fatalf("the run gave %+v and the calls %+v, %v", answer, calls, err)
	}
	if told := answer.Messages[3]; told.ToolCallID != "c2" || told.Content != "error: the arguments are not valid: b is missing\n\n"+
		"error: a tool call was not run: no JSON; the tools are: add" {
		t.Errorf("the model was told %+v", told)
	}
	if sent := string((<-second).Raw); !strings.Contains(sent, `"reasoning_content":"hm"`) || !strings.Contains(sent, "b is missing") {
		t.Errorf("the client sent %s", sent)
	}
}

func TestAllCallsOfAnAnswerRunInOrder(t *testing.T) {
	_, model := startMock(t)
	var calls []sumArguments
	asked := "<think>two</think>" + called("add", `{"a": 1, "b": 2}`) + called("add", `{"a": 3, "b": 4}`)
	answer, err := RunTools(deadlined(t), model, UserTurn(asked), []ToolFunc{addFunc(&calls)}, WithMaxTokens(400))
	if err != nil || len(calls) != 2 || calls[0].A != 1 || calls[1].A != 3 {
		t.Fatalf("the calls are %+v, %v", calls, err)
	}
	var told []string
	for _, turn := range answer.Messages[2:4] {
		told = append(told, turn.Content)
	}
	if !slices.Equal(told, []string{`{"sum":3}`, `{"sum":7}`}) || answer.Messages[1].ReasoningContent != "two" {
		t.Errorf("the conversation is %+v", answer.Messages)
	}
}

// endlessCalls answers chats with a call each and sends what they asked for.
func endlessCalls(sent chan<- scriptedRequest) func(*scriptedWorker) {
	return func(w *scriptedWorker) {
		for round := range 2 {
			request := w.next("chat")
			sent <- request
			w.token(request.ID, 0)
			w.say(`{"id":%q,"type":"done","final":true,"done":true,"finish_reason":"tool_calls","tokens_generated":1,"metrics":{},`+
				`"tool_calls":[{"index":0,"call_id":"c%d","name":"add","arguments":"{\"a\":1,\"b\":2}","arguments_error":null}],"tool_error":null}`,
				request.ID, round)
		}
		close(sent)
	}
}

func TestRunToolsEndsAfterItsRoundsAndForcesOneCallAlone(t *testing.T) {
	for choice, want := range map[string][]any{"required": {"required", nil}, "add": {"add", nil}, "auto": {"auto", nil}, "none": {"none", "none"}} {
		sent := make(chan scriptedRequest, 2)
		_, model := startModel(t, windows, endlessCalls(sent))
		var calls []sumArguments
		answer, err := RunTools(deadlined(t), model, UserTurn("?"), []ToolFunc{addFunc(&calls)}, WithMaxRounds(2), WithToolChoice(choice))
		var own *Error
		if !errors.As(err, &own) || own.Code != ErrInvalidAnswer || !strings.Contains(own.Message, "in round 2, the last") || !errors.Is(err, ErrTooManyRounds) {
			t.Fatalf("the run ended with %v", err)
		}
		if len(answer.Messages) != 5 || answer.Messages[4].Role != "tool" || answer.Rounds != 2 || len(calls) != 2 {
			t.Errorf("the conversation is %+v", answer.Messages)
		}
		var choices []any
		for request := range sent {
			var fields map[string]any
			if err := json.Unmarshal(request.Raw, &fields); err != nil || len(fields["tools"].([]any)) != 1 {
				t.Errorf("the client sent %s", request.Raw)
			}
			choices = append(choices, fields["tool_choice"])
		}
		if !slices.Equal(choices, want) {
			t.Errorf("%s was sent as %v", choice, choices)
		}
	}
}

// failsCall ends a chat with a call that did not become whole, after whole ones.
func failsCall(w *scriptedWorker, reason string, calls string, cutOff bool) {
	request := w.next("chat")
	w.token(request.ID, 0)
	w.say(`{"id":%q,"type":"done","final":true,"done":true,"finish_reason":%q,"tokens_generated":1,"metrics":{},`+
		`"tool_calls":[%s],"tool_error":{"index":null,"message":"it has no name","text":"<call>","cut_off":%t}}`, request.ID, reason, calls, cutOff)
}

func TestACallThatCantBeReadIsToldBesideOthersAndCountsAsARound(t *testing.T) {
	second := make(chan scriptedRequest, 1)
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		failsCall(w, "tool_calls", `{"index":0,"call_id":"c","name":"add","arguments":"{\"a\":1,\"b\":2}","arguments_error":null}`, false)
		failsCall(w, "stop", "", false)
		request := w.next("chat")
		second <- request
		w.token(request.ID, 0)
		w.done(request.ID, "stop")
	})
	var calls []sumArguments
	answer, err := RunTools(deadlined(t), model, UserTurn("?"), []ToolFunc{addFunc(&calls)}, WithMaxRounds(2))
	if !errors.Is(err, ErrTooManyRounds) || answer.Rounds != 2 || len(calls) != 1 {
		t.Fatalf("the run gave %+v, %v", answer, err)
	}
	told := "error: a tool call was not run: it has no name; the tools are: add"
	if result := answer.Messages[2]; result.Role != "tool" || result.Content != "{\"sum\":3}\n\n"+told {
		t.Errorf("the model was told %+v", result)
	}
	if last := answer.Messages[4]; last.Role != "user" || last.Content != told {
		t.Errorf("the model was told %+v", last)
	}
	if answer, err = RunTools(deadlined(t), model, answer.Messages, []ToolFunc{addFunc(&calls)}); err != nil || answer.Text != "t0" {
		t.Errorf("the next run gave %+v, %v", answer, err)
	}
	if sent := string((<-second).Raw); !strings.Contains(sent, told) {
		t.Errorf("the client sent %s", sent)
	}
}

func TestACallThatWasCutOffEndsTheRunAndRunsNothing(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		failsCall(w, "length", `{"index":0,"call_id":"c","name":"add","arguments":"{\"a\":1,\"b\":2}","arguments_error":null}`, true)
	})
	var calls []sumArguments
	answer, err := RunTools(deadlined(t), model, UserTurn("?"), []ToolFunc{addFunc(&calls)})
	var own *Error
	if !errors.As(err, &own) || own.Code != ErrInvalidAnswer || !errors.Is(err, ErrCallCutOff) || own.Answer != "t0" {
		t.Fatalf("the run ended with %v", err)
	}
	if len(answer.Messages) != 1 || answer.Text != "t0" || answer.Done.ToolError == nil || answer.Done.ToolError.Text != "<call>" || len(calls) != 0 {
		t.Errorf("the answer is %+v, and the calls %+v", answer, calls)
	}
}

func TestTheContextEndsARunBetweenItsFunctions(t *testing.T) {
	_, model := startMock(t)
	ctx, cancel := context.WithCancel(deadlined(t))
	stop := NewToolFunc("stop", "", func(context.Context, struct{}) (string, error) {
		cancel()
		return "", errors.New("never told")
	})
	answer, err := RunTools(ctx, model, UserTurn(called("stop", "{}")), []ToolFunc{stop}, WithMaxTokens(200))
	if !errors.Is(err, context.Canceled) || answer.Rounds != 1 || len(answer.Messages) != 2 {
		t.Errorf("the run gave %+v, %v", answer, err)
	}
}

func TestRunToolsRefusesWhatItCantUse(t *testing.T) {
	_, model := startModel(t, windows, func(*scriptedWorker) {}) // a request would never be answered
	var calls []sumArguments
	add := []ToolFunc{addFunc(&calls)}
	for _, c := range []struct {
		functions []ToolFunc
		option    RequestOption
		field     string
	}{
		{add, WithMaxRounds(0), "max_rounds"},
		{add, WithTools(Tool{Name: "x"}), "tools"},
		{add, nil, "options"},
		{[]ToolFunc{{Tool: Tool{Name: "x"}}}, WithMaxRounds(1), "tools"},
		{[]ToolFunc{NewToolFunc("x", "", func(context.Context, int) (string, error) { return "", nil })}, WithMaxRounds(1), "tools"},
		{[]ToolFunc{NewToolFunc("x", "", func(context.Context, *label) (string, error) { return "", nil })}, WithMaxRounds(1), "tools"},
		{[]ToolFunc{NewToolFunc("x", "", func(context.Context, struct{ C chan int }) (string, error) { return "", nil })}, WithMaxRounds(1), "tools"},
	} {
		answer, err := RunTools(deadlined(t), model, UserTurn("?"), c.functions, c.option)
		var own *Error
		if !errors.As(err, &own) || own.Code != ErrInvalidParams || own.Field() != c.field || answer.Rounds != 0 {
			t.Errorf("%s was not refused: %v", c.field, err)
		}
	}
}

func TestTheParametersOfAToolAreWholeAtTheirRoot(t *testing.T) {
	tree := NewToolFunc("plant", "", func(context.Context, node) (string, error) { return "", nil })
	add := addFunc(new([]sumArguments))
	for _, c := range []struct {
		function ToolFunc
		want     string
	}{
		{add, `{"type":"object","properties":{"a":{"type":"integer","description":"The first number, in metres","minimum":0,"maximum":9000000000000000000},` +
			`"b":{"type":"integer","minimum":-9000000000000000000,"maximum":9000000000000000000},"unit":{"type":"string","enum":["m","km"]},` +
			`"tags":{"type":"array","items":{"anyOf":[{"$ref":"#/$defs/label"},{"type":"null"}]}}},"required":["a","b"],"additionalProperties":false,` +
			`"$defs":{"label":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"],"additionalProperties":false}}}`},
		{tree, `{"type":"object","properties":{"name":{"type":"string","maxLength":6},"child":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},` +
			`"required":["name"],"additionalProperties":false,"$defs":{"node":{"type":"object","properties":{"name":{"type":"string","maxLength":6},` +
			`"child":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["name"],"additionalProperties":false}}}`},
	} {
		text, err := json.Marshal(c.function.Tool.Parameters)
		if err != nil || string(text) != c.want {
			t.Errorf("the parameters are %s, %v", text, err)
		}
	}
}
