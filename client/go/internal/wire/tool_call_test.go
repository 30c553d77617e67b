package wire

import (
	"fmt"
	"strings"
	"testing"
)

const (
	firstToken  = `{"id":"r","type":"token","seq":0,"token":"a","token_id":1}`
	callBegan   = `{"id":"r","type":"tool_call","seq":%d,"index":0,"call_id":"c","name":"add"}`
	otherBegan  = `{"id":"r","type":"tool_call","seq":%d,"index":1,"call_id":"d","name":"add"}`
	callPart    = `{"id":"r","type":"tool_call","seq":%d,"index":0,"arguments":"{}"}`
	otherPart   = `{"id":"r","type":"tool_call","seq":%d,"index":1,"arguments":"{}"}`
	secondToken = `{"id":"r","type":"token","seq":3,"token":"b","token_id":1,"channel":"thinking"}`
)

func TestPartsOfToolCallsAndTokensCountOneSeq(t *testing.T) {
	chat := Replies{Tokens: true, ToolCalls: true}
	began := fmt.Sprintf(callBegan, 1)
	for _, c := range []struct {
		replies Replies
		lines   []string
		says    string // "" if all lines are accepted
	}{
		{chat, []string{firstToken, began, fmt.Sprintf(callPart, 2), secondToken}, ""},
		{chat, []string{firstToken, fmt.Sprintf(callBegan, 2)}, "tool_call seq 2 where 1"},
		{chat, []string{firstToken, began, fmt.Sprintf(callPart, 1)}, "tool_call seq 1 where 2"},
		{chat, []string{firstToken, began, secondToken}, "token seq 3 where 2"},
		{chat, []string{firstToken, fmt.Sprintf(callPart, 1)}, "call 0, which had not begun"},
		{chat, []string{firstToken, began, fmt.Sprintf(otherPart, 2)}, "call 1, which had not begun"},
		{chat, []string{firstToken, began, fmt.Sprintf(callBegan, 2)}, "began tool call 0 where 1"},
		{chat, []string{firstToken, fmt.Sprintf(otherBegan, 1)}, "began tool call 1 where 0"},
		{chat, []string{firstToken, began, fmt.Sprintf(otherBegan, 2), fmt.Sprintf(callPart, 3)}, ""},
		{Replies{Tokens: true}, []string{firstToken, began}, "has no tools"},
		{Replies{Prompts: 1}, []string{began}, "has no tools"},
		{Replies{}, []string{began}, "has no tools"},
		{chat, []string{`{"id":"r","type":"tool_call","seq":0,"index":0}`}, "neither"},
		{chat, []string{`{"id":"r","type":"tool_call","seq":0,"index":0,"call_id":"c"}`}, "only one of"},
		{chat, []string{`{"id":"r","type":"tool_call","seq":0,"index":0,"name":"add"}`}, "only one of"},
		{chat, []string{`{"id":"r","type":"tool_call","seq":0,"call_id":"c","name":"add"}`}, "missing"},
		{chat, []string{`{"id":"r","type":"tool_call","index":0,"call_id":"c","name":"add"}`}, "missing"},
		{chat, []string{`{"id":"r","type":"tool_call","seq":0,"index":-1,"call_id":"c","name":"add"}`}, "negative"},
		{chat, []string{`{"id":"r","type":"tool_call","seq":0,"index":"0","call_id":"c","name":"add"}`}, "malformed"},
		{chat, []string{`{"id":"r","type":"tool_call","seq":0,"index":0,"call_id":1,"name":"add"}`}, "malformed"},
		{chat, []string{`{"id":"r","type":"tool_call","seq":0,"index":0,"arguments":{}}`}, "malformed"},
		{chat, []string{`{"id":"r","type":"tool_call","final":true,"seq":0,"index":0,"arguments":""}`}, "wrong `final`"},
		{chat, []string{`{"id":"r","type":"done","final":true}`, began}, "not pending"},
	} {
		connection, r := ready(t)
		connection.Expect("r", c.replies, r)
		err := connection.Receive([]byte(strings.Join(c.lines, "\n") + "\n"))
		if c.says == "" && (err != nil || len(r.got) != len(c.lines)) {
			t.Errorf("%q were refused: %v", c.lines, err)
		}
		if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%q gave %v, which does not say %q", c.lines, err, c.says)
		}
	}
}
