package mlxwire

import (
	"encoding/json"
	"errors"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const (
	callsDone = `{"type":"done","id":%q,"final":true,"done":true,"finish_reason":"tool_calls","tokens_generated":4,"metrics":{"thinking_tokens":1},` +
		`"tool_calls":[{"index":0,"call_id":"c1","name":"add","arguments":"{\"a\":1,\"b\":2}","arguments_error":null},` +
		`{"index":1,"call_id":"c2","name":"add","arguments":"{\"a\":1}","arguments_error":"b is missing"}],` +
		`"tool_error":{"index":null,"message":"no JSON","text":"<tool_call>{","cut_off":false}}`
	argumentsLine = `{"id":%q,"type":"tool_call","seq":%d,"index":0,"arguments":%q}`
)

var addTool = Tool{Name: "add", Parameters: map[string]any{"type": "object"}}

// callsTools answers a chat with a thought, a text and tool calls.
func callsTools(w *scriptedWorker) {
	id := w.next("chat").ID
	w.say(`{"type":"token","id":%q,"seq":0,"token":"hm","token_id":1,"channel":"thinking"}`, id)
	w.say(`{"type":"token","id":%q,"seq":1,"token":"I add.","token_id":2}`, id)
	w.say(`{"type":"token","id":%q,"seq":2,"token":"","token_id":3}`, id)
	w.say(`{"id":%q,"type":"tool_call","seq":3,"index":0,"call_id":"c1","name":"add"}`, id)
	w.say(argumentsLine, id, 4, `{"a":1,`)
	w.say(`{"type":"token","id":%q,"seq":5,"token":"","token_id":4}`, id)
	w.say(argumentsLine, id, 6, `"b":2}`)
	w.say(`{"type":"token","id":%q,"seq":7,"token":"!","token_id":4,"flush":true}`, id)
	w.say(`{"id":%q,"type":"tool_call","seq":8,"index":1,"call_id":"c2","name":"add"}`, id)
	w.say(callsDone, id)
}

func startCall(t *testing.T, script func(*scriptedWorker), options ...StartOption) *Stream {
	t.Helper()
	_, model := startModel(t, windows, script, options...)
	stream, err := model.ChatStream(deadlined(t), UserTurn("1 + 2?"), WithTools(addTool))
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestPartsOfToolCallsComeAsTokensWithoutText(t *testing.T) {
	stream := startCall(t, callsTools)
	var printed strings.Builder
	var parts []ToolCallDelta
	for token, err := range stream.Tokens() {
		if err != nil {
			t.Fatal(err)
		}
		if token.Channel == "" {
			printed.WriteString(token.Text)
		}
		if token.ToolCall == nil {
			continue
		}
		if token.Text != "" || token.ID != NoTokenID || !token.Flush {
			t.Errorf("a part of a call came as %+v", token)
		}
		parts = append(parts, *token.ToolCall)
	}
	want := []ToolCallDelta{
		{0, "c1", "add", ""}, {0, "c1", "", `{"a":1,`}, {0, "c1", "", `"b":2}`}, {1, "c2", "add", ""},
	}
	if !slices.Equal(parts, want) || printed.String() != "I add.!" || stream.Delivered() != 4 {
		t.Errorf("the parts are %+v beside %q of %d tokens", parts, printed.String(), stream.Delivered())
	}
}

func TestTheWholeAnswerCanBeAskedForInAnyOrderAndAgain(t *testing.T) {
	for _, taken := range []int{0, 3, 100} { // tokens that are ranged over before
		stream := startCall(t, callsTools)
		if taken > 0 {
			next, stop := iter.Pull2(stream.Tokens())
			defer stop()
			for range taken {
				next()
			}
		}
		for range 2 {
			calls, err := stream.ToolCalls()
			if err != nil || len(calls) != 2 || calls[0].ID != "c1" || *calls[1].ArgumentsError != "b is missing" {
				t.Errorf("the calls are %+v, %v", calls, err)
			}
			thoughts, err := stream.Thoughts()
			if thoughts != "hm" || err != nil {
				t.Errorf("the thoughts are %q, %v", thoughts, err)
			}
			text, err := stream.Text()
			if text != "I add.!" || err != nil {
				t.Errorf("the text is %q, %v", text, err)
			}
		}
		done, _ := stream.Done()
		wantError := &ToolError{Message: "no JSON", Text: "<tool_call>{"}
		if done.FinishReason != FinishToolCalls || !reflect.DeepEqual(done.ToolError, wantError) || done.Metrics.ThinkingTokens != 1 {
			t.Errorf("the stream ended with %+v", done)
		}
	}
}

func TestAnAnswerIsATurnOfTheNextRequest(t *testing.T) {
	turn, err := startCall(t, callsTools).Message()
	text, _ := json.Marshal(turn)
	want := `{"role":"assistant","content":"I add.!","reasoning_content":"hm","tool_calls":[` +
		`{"id":"c1","function":{"name":"add","arguments":"{\"a\":1,\"b\":2}"}},` +
		`{"id":"c2","function":{"name":"add","arguments":"{\"a\":1}"}}]}`
	if err != nil || string(text) != want {
		t.Errorf("the turn is %s, %v; want %s", text, err, want)
	}
}

func TestAStreamThatFailsGivesNoCalls(t *testing.T) {
	stream := startCall(t, func(w *scriptedWorker) {
		id := w.next("chat").ID
		w.token(id, 0)
		w.fails(id, "engine_error")
	})
	for range 2 {
		calls, err := stream.ToolCalls()
		if calls != nil || !errors.Is(err, Code("engine_error")) {
			t.Errorf("the calls are %v, %v", calls, err)
		}
		if turn, err := stream.Message(); err == nil || turn.Role != "" {
			t.Errorf("the message is %+v, %v", turn, err)
		}
		if text, err := stream.Text(); text != "t0" || err == nil {
			t.Errorf("the text is %q, %v", text, err)
		}
	}
}

func TestPartsOfToolCallsUseUpTheWindow(t *testing.T) {
	const parts = 40
	stream := startCall(t, func(w *scriptedWorker) {
		request := w.next("chat")
		credit := request.Window
		w.token(request.ID, 0)
		w.say(`{"id":%q,"type":"tool_call","seq":1,"index":0,"call_id":"c","name":"add"}`, request.ID)
		for seq := 2; seq < parts; seq++ {
			if seq == credit {
				credit += w.next("credit").N
			}
			w.say(argumentsLine, request.ID, seq, " ")
		}
		w.done(request.ID, "tool_calls")
	}, WithWindow(4))
	if _, err := stream.ToolCalls(); err != nil || stream.Delivered() != 1 {
		t.Errorf("the stream gave %d tokens, %v", stream.Delivered(), err)
	}
}

func TestAnEndThatLacksPartsOfItsCallsEndsTheWorker(t *testing.T) {
	for _, wrong := range []string{
		`"tool_calls":[{"index":0,"call_id":"c","name":"add","arguments_error":null}]`,
		`"tool_calls":[{"index":0,"call_id":null,"name":"add","arguments":"{}","arguments_error":null}]`,
		`"tool_calls":[7]`, `"tool_calls":{}`, `"tool_error":"x"`, `"tool_error":{"index":null,"text":"","cut_off":false}`,
	} {
		stream := startCall(t, func(w *scriptedWorker) {
			id := w.next("chat").ID
			w.say(`{"type":"done","id":%q,"final":true,"done":true,"finish_reason":"stop","tokens_generated":0,"metrics":{},%s}`, id, wrong)
		})
		if _, err := stream.ToolCalls(); !errors.Is(err, ErrProtocolViolation) {
			t.Errorf("%s gave %v", wrong, err)
		}
	}
}

func TestArgumentsAreReadAsAType(t *testing.T) {
	type pair struct{ A, B int }
	why := "b is missing"
	for _, c := range []struct {
		call ToolCall
		says string
	}{
		{ToolCall{Name: "add", Arguments: `{"a":1,"b":2}`}, ""},
		{ToolCall{Name: "add", Arguments: `{"a":1,"b":2}`, ArgumentsError: &why}, why},
		{ToolCall{Name: "add", Arguments: `{"a":"x"}`}, "cannot unmarshal"},
		{ToolCall{Name: "add", Arguments: `{"c":1}`}, "unknown field"},
		{ToolCall{Name: "add", Arguments: `{} {}`}, "more follows"},
	} {
		value, err := ArgumentsOf[pair](c.call)
		if c.says == "" {
			if value != (pair{1, 2}) || err != nil {
				t.Errorf("%s was read as %v, %v", c.call.Arguments, value, err)
			}
			continue
		}
		var own *Error
		if !errors.As(err, &own) || own.Code != ErrInvalidAnswer || own.Answer != c.call.Arguments || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s gave %v", c.call.Arguments, err)
		}
	}
}
