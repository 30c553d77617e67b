package wire

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const hello = `{"id":"h","type":"result","final":true,"protocol":1,"limits":{"max_line_bytes":1000}}` + "\n"

// A recorder is a Sink that records its calls.
type recorder struct{ got []string }

func (r *recorder) TakeToken(token *Token) {
	r.got = append(r.got, fmt.Sprintf("token %d %q", token.Seq, token.Text))
}

func (r *recorder) TakeReply(kind string, final bool, _ []byte) error {
	r.got = append(r.got, fmt.Sprintf("%s %v", kind, final))
	return nil
}

func (r *recorder) Fail(err error) { r.got = append(r.got, err.Error()) }

// ready returns a connection after its handshake, with a request "r" pending.
func ready(t *testing.T) (*ClientConnection, *recorder) {
	t.Helper()
	c, r := NewClientConnection(), new(recorder)
	c.ExpectHello("h", new(recorder))
	if err := c.Receive([]byte(hello)); err != nil || c.State() != Ready {
		t.Fatalf("after hello the state is %v, %v", c.State(), err)
	}
	c.Expect("r", Replies{Tokens: true}, r)
	return c, r
}

func TestRepliesReachTheirRequestInOrder(t *testing.T) {
	c, r := ready(t)
	lines := `{"id":"r","type":"progress","stage":"prefill","done":1,"total":2}
{"id":"r","type":"token","seq":0,"token":"a","token_id":1}
{"id":"r","type":"novelty","what":1}
{"id":"r","type":"token","seq":1,"token":"b","token_id":2,"flush":true}
{"id":"r","type":"done","final":true,"finish_reason":"stop"}
`
	for _, b := range []byte(lines) {
		if err := c.Receive([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"progress false", `token 0 "a"`, "novelty false", `token 1 "b"`, "done true"}
	if !slices.Equal(r.got, want) {
		t.Errorf("the request received %q, want %q", r.got, want)
	}
}

func TestAnUnknownTypeThatIsFinalEndsItsRequest(t *testing.T) {
	c, r := ready(t)
	if err := c.Receive([]byte(`{"id":"r","type":"novelty","final":true}` + "\n")); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.got, []string{"novelty true"}) || len(c.pending) != 0 {
		t.Errorf("the request received %q, and %v is pending", r.got, c.pending)
	}
}

func TestTokensOfABatchAreCountedForEachPrompt(t *testing.T) {
	c, r := ready(t)
	c.Expect("r", Replies{Tokens: true, Prompts: 2}, r)
	for _, line := range []string{
		`{"id":"r","type":"token","index":1,"seq":0,"token":"a","token_id":1}`,
		`{"id":"r","type":"token","index":0,"seq":0,"token":"b","token_id":1}`,
		`{"id":"r","type":"token","index":1,"seq":1,"token":"c","token_id":1}`,
	} {
		if err := c.Receive([]byte(line + "\n")); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.got) != 3 {
		t.Errorf("the request received %q", r.got)
	}
}

func TestTokensAndItemsAreThoseOfTheRequestAlone(t *testing.T) {
	const (
		token     = `{"id":"r","type":"token","seq":0,"token":"a","token_id":1}`
		longToken = `{"id":"r","type":"token","seq":0,"token":"a","token_id":1,"index":0}`
		item      = `{"id":"r","type":"item","index":0}`
		other     = `{"id":"r","type":"item","index":1}`
	)
	text, scores := Replies{Tokens: true}, Replies{Prompts: 2}
	batch, streaming := scores, Replies{Tokens: true, Prompts: 2}
	for _, c := range []struct {
		replies Replies
		lines   []string
		says    string // "" if all lines are accepted
	}{
		{text, []string{token}, ""},
		{text, []string{longToken}, ""},
		{text, []string{item}, "0 prompts"},
		{Replies{}, []string{token}, "has none"},
		{Replies{}, []string{longToken}, "has none"},
		{Replies{}, []string{item}, "0 prompts"},
		{batch, []string{item, other}, ""},
		{batch, []string{token}, "has none"},
		{batch, []string{longToken}, "has none"},
		{batch, []string{item, item}, "twice"},
		{batch, []string{`{"id":"r","type":"item","index":2}`}, "2 prompts"},
		{batch, []string{`{"id":"r","type":"item","index":-1}`}, "2 prompts"},
		{batch, []string{`{"id":"r","type":"item","index":"0"}`}, "2 prompts"},
		{batch, []string{`{"id":"r","type":"item","index":null}`}, "2 prompts"},
		{batch, []string{`{"id":"r","type":"item"}`}, "2 prompts"},
		{streaming, []string{longToken, item, other}, ""},
		{streaming, []string{token}, "without the `index`"},
		{streaming, []string{item, longToken}, "after its item"},
		{streaming, []string{longToken, longToken}, "seq 0 where 1"},
		{streaming, []string{`{"id":"r","type":"token","seq":0,"token":"a","token_id":1,"index":2}`}, "of prompt 2"},
	} {
		connection, r := ready(t)
		connection.Expect("r", c.replies, r)
		err := connection.Receive([]byte(strings.Join(c.lines, "\n") + "\n"))
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q to a request with %+v gave %v, want %q", c.lines, c.replies, err, c.says)
		}
	}
}

func TestALineThatBreaksARuleFailsTheConnection(t *testing.T) {
	for name, c := range map[string]struct{ line, says string }{
		"not JSON":               {`nonsense`, "not a message"},
		"no object":              {`[1]`, "not a message"},
		"no UTF-8":               {`{"id":"r","type":"token","seq":0,"token":"` + "\xff" + `","token_id":1}`, "not a message"},
		"no id":                  {`{"type":"token"}`, `"token" without an id`},
		"an error without id":    {`{"type":"error","final":true,"error":{"code":"internal"}}`, `"error" without an id`},
		"a token of null":        {`{"id":null,"type":"token","seq":0,"token":"a","token_id":1}`, `"token" without an id`},
		"null id":                {`{"id":null,"type":"error","final":true,"error":{"code":"parse_error"}}`, "parse_error"},
		"an id that is a number": {`{"id":1,"type":"done","final":true}`, "not pending"},
		"an id of nobody":        {`{"id":"x","type":"token","seq":0,"token":"a","token_id":1}`, "not pending"},
		"a gap":                  {`{"id":"r","type":"token","seq":1,"token":"a","token_id":1}`, "seq 1 where 0"},
		"a gap, the long way":    {`{"id":"r","type":"token","seq":1,"token":"a","token_id":1,"x":1}`, "seq 1 where 0"},
		"a token without text":   {`{"id":"r","type":"token","seq":0,"token_id":1}`, "malformed"},
		"a final token":          {`{"id":"r","type":"token","final":true,"seq":0,"token":"a","token_id":1}`, "wrong `final`"},
		"a done without final":   {`{"id":"r","type":"done"}`, "wrong `final`"},
		"a final that is a text": {`{"id":"r","type":"done","final":"yes"}`, "wrong `final`"},
		"used twice":             {`{"id":"r","type":"error","final":true,"error":{"code":"duplicate_id"}}`, "used twice"},
		"too long":               {strings.Repeat("x", DefaultMaxLineBytes+1), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			connection, _ := ready(t)
			err := connection.Receive([]byte(c.line + "\n"))
			if err == nil || !strings.Contains(err.Error(), c.says) || connection.State() != Failed {
				t.Errorf("Receive gave %v in state %v, want an error with %q", err, connection.State(), c.says)
			}
		})
	}
}

func TestAReplyAfterTheFinalIsRefused(t *testing.T) {
	c, _ := ready(t)
	final := []byte(`{"id":"r","type":"done","final":true}` + "\n")
	if err := c.Receive(final); err != nil {
		t.Fatal(err)
	}
	if err := c.Receive(final); err == nil {
		t.Error("a second final was accepted")
	}
}

func TestAResultMayNotEndAStream(t *testing.T) {
	c, _ := ready(t)
	err := c.Receive([]byte(`{"id":"r","type":"token","seq":0,"token":"a","token_id":1}` + "\n" +
		`{"id":"r","type":"result","final":true}` + "\n"))
	if err == nil {
		t.Error("a result was accepted as the end of a stream")
	}
}

func TestAResultMayNotComeDuringAStream(t *testing.T) {
	c, _ := ready(t)
	err := c.Receive([]byte(`{"id":"r","type":"token","seq":0,"token":"a","token_id":1}` + "\n" +
		`{"id":"r","type":"result"}` + "\n"))
	if err == nil || !strings.Contains(err.Error(), "not allowed") {
		t.Errorf("Receive gave %v", err)
	}
}

func TestARefusedHelloFailsTheConnection(t *testing.T) {
	c, r := NewClientConnection(), new(recorder)
	c.ExpectHello("h", r)
	refusal := `{"id":"h","type":"error","final":true,"error":{"code":"unsupported_protocol"}}`
	if err := c.Receive([]byte(refusal + "\n")); err != nil || c.State() != Failed {
		t.Errorf("Receive gave %v in state %v", err, c.State())
	}
	if !slices.Equal(r.got, []string{"error true"}) {
		t.Errorf("hello received %q", r.got)
	}
}

func TestAWorkerThatNamesNoLimitHasTheDefault(t *testing.T) {
	for _, limits := range []string{`{}`, `{"max_line_bytes":0}`, `{"max_line_bytes":-1}`} {
		c := NewClientConnection()
		c.ExpectHello("h", new(recorder))
		line := `{"id":"h","type":"result","final":true,"protocol":1,"limits":` + limits + `}`
		if err := c.Receive([]byte(line + "\n")); err != nil || c.MaxLineBytes() != DefaultMaxLineBytes {
			t.Errorf("with the limits %s: %v, %d bytes", limits, err, c.MaxLineBytes())
		}
	}
}

func TestLinesBeforeTheHandshakeAreRecordedUpToABound(t *testing.T) {
	c := NewClientConnection()
	c.ExpectHello("h", new(recorder))
	for range maxStrayLines {
		if err := c.Receive([]byte("a banner\n")); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.StrayLines()) != maxStrayLines || c.StrayLines()[0] != "a banner" {
		t.Errorf("the stray lines are %q", c.StrayLines())
	}
	if err := c.Receive([]byte("one more\n")); err == nil {
		t.Error("one stray line too many was accepted")
	}
}

func TestTheHandshakeIsRefused(t *testing.T) {
	for name, line := range map[string]string{
		"by a worker of dialect 0":          `{"error":"hello: unknown"}`,
		"by a version that was not offered": `{"id":"h","type":"result","final":true,"protocol":2}`,
		"by an answer that is malformed":    `{"id":"h","type":"result","final":true,"protocol":"1"}`,
	} {
		c, r := NewClientConnection(), new(recorder)
		c.ExpectHello("h", r)
		err := c.Receive([]byte(line + "\n"))
		if err == nil {
			t.Errorf("refused %s: the handshake was accepted", name)
		}
		if c.FailAll(err); len(r.got) != 1 {
			t.Errorf("refused %s: hello received %q", name, r.got)
		}
	}
}

func TestTheLastLineNeedsNoEnd(t *testing.T) {
	c, r := ready(t)
	if err := c.Receive([]byte(`{"id":"r","type":"done","final":true}`)); err != nil || len(r.got) != 0 {
		t.Fatal(err, r.got)
	}
	if err := c.End(); err != nil || !slices.Equal(r.got, []string{"done true"}) {
		t.Errorf("End gave %v, and the request received %q", err, r.got)
	}
}

func TestALastLineWithoutItsEndMayBreakARule(t *testing.T) {
	c, _ := ready(t)
	if err := c.Receive([]byte(`{"id":"x","type":"done","final":true}`)); err != nil {
		t.Fatal(err)
	}
	if err := c.End(); err == nil || c.State() != Failed {
		t.Errorf("End gave %v in state %v", err, c.State())
	}
}

func TestALastLineThatWasCutOffBreaksNoRule(t *testing.T) {
	c, r := ready(t)
	if err := c.Receive([]byte(`{"id":"r","type":"tok`)); err != nil {
		t.Fatal(err)
	}
	if err := c.End(); err != nil || len(r.got) != 0 {
		t.Errorf("End gave %v, and the request received %q", err, r.got)
	}
}

func TestEventsReachOnEvent(t *testing.T) {
	c, _ := ready(t)
	var got string
	c.OnEvent = func(line []byte) error { got = string(line); return nil }
	line := `{"id":null,"type":"event","event":"heartbeat","data":{}}`
	if err := c.Receive([]byte(line + "\n")); err != nil || got != line {
		t.Errorf("Receive gave %v, and OnEvent received %q", err, got)
	}
}

func TestFailAllEndsPendingRequests(t *testing.T) {
	c, r := ready(t)
	c.FailAll(errors.New("gone"))
	if !slices.Equal(r.got, []string{"gone"}) {
		t.Errorf("the request received %q", r.got)
	}
}

func FuzzReceive(f *testing.F) {
	for _, line := range append(tokenLines, otherLines...) {
		f.Add([]byte(line+"\n"), uint8(7))
	}
	f.Add([]byte(`{"id":"r","type":"done","final":true}`+"\n"), uint8(1))
	f.Fuzz(func(t *testing.T, input []byte, size uint8) {
		whole, wholeRecorder := ready(t)
		pieces, piecesRecorder := ready(t)
		wholeErr := whole.Receive(input)
		var piecesErr error
		for chunk := range slices.Chunk(input, int(size)+1) {
			if piecesErr = pieces.Receive(slices.Clone(chunk)); piecesErr != nil {
				break
			}
		}
		if (wholeErr == nil) != (piecesErr == nil) || !slices.Equal(wholeRecorder.got, piecesRecorder.got) {
			t.Errorf("in one piece the request received %q, %v; in pieces %q, %v",
				wholeRecorder.got, wholeErr, piecesRecorder.got, piecesErr)
		}
	})
}
