package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

func TestABodyThatIsNotAQuestionIsRefusedWithTheReason(t *testing.T) {
	_, server := serve(t)
	const hello = `"messages":[{"role":"user","content":"x"}]`
	for _, c := range []struct {
		body   string
		status int
		code   mlxwire.Code
		reason string
	}{
		{"", 400, mlxwire.ErrInvalidRequest, `{"messages":`},
		{"nonsense", 400, mlxwire.ErrInvalidRequest, "invalid character"},
		{"[]", 400, mlxwire.ErrInvalidRequest, "array"},
		{"{" + hello + "} {}", 400, mlxwire.ErrInvalidRequest, "more"},
		{"{" + hello + `,"max_tokens":"8"}`, 400, mlxwire.ErrInvalidRequest, "max_tokens"},
		{"{" + hello + `,"top_p":0.5}`, 400, mlxwire.ErrInvalidRequest, "top_p"},
		{`{"messages":"x"}`, 400, mlxwire.ErrInvalidRequest, "messages"},
		{`{"messages":[{"role":"user","text":"x"}]}`, 400, mlxwire.ErrInvalidRequest, "text"},
		{`{}`, 400, mlxwire.ErrInvalidParams, "messages"},
		{`{"messages":[]}`, 400, mlxwire.ErrInvalidParams, "messages"},
		{`{"messages":[{"role":"","content":"x"}]}`, 400, mlxwire.ErrInvalidParams, "role"},
		{"{" + hello + `,"temperature":-1}`, 400, mlxwire.ErrInvalidParams, "temperature"},
		{"{" + hello + `,"max_tokens":-1}`, 400, mlxwire.ErrInvalidParams, "max_tokens"},
		{`{"messages":[{"role":"user","content":"` + strings.Repeat("x", maxBodyBytes) + `"}]}`, 413, mlxwire.ErrMessageTooLarge, "too large"},
	} {
		answer, err := http.Post(server.URL+"/chat", "application/json", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		var told struct{ Code, Message string }
		err = json.NewDecoder(answer.Body).Decode(&told)
		answer.Body.Close()
		if err != nil || answer.StatusCode != c.status || told.Code != string(c.code) || !strings.Contains(told.Message, c.reason) ||
			answer.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%.80s gave status %d, %+v, %v", c.body, answer.StatusCode, told, err)
		}
	}
}

func TestAnAnswerWithoutTokensEndsWithDone(t *testing.T) {
	_, server := serve(t)
	var events []event
	ask(t, server.URL, `{"messages":[{"role":"user","content":"x"}],"max_tokens":0}`, func(e event) { events = append(events, e) })
	if len(events) != 1 || events[0].name != "done" || events[0].data["finish_reason"] != "length" {
		t.Errorf("the events are %+v", events)
	}
}

func TestEachCodeHasItsStatus(t *testing.T) {
	for code, want := range map[mlxwire.Code]int{
		mlxwire.ErrInvalidParams: 400, mlxwire.ErrContextOverflow: 400, mlxwire.ErrMessageTooLarge: 413,
		mlxwire.ErrOverloaded: 503, mlxwire.ErrOutOfMemory: 503, mlxwire.ErrUnavailable: 503, mlxwire.ErrWorkerCrashed: 503, mlxwire.ErrShuttingDown: 503,
		mlxwire.ErrTimeout: 504, mlxwire.ErrDeadlineExceeded: 504, mlxwire.ErrInternal: 500, mlxwire.ErrProtocolViolation: 500,
	} {
		if got := status(fmt.Errorf("wrapped: %w", &mlxwire.Error{Code: code})); got != want {
			t.Errorf("the status of %s is %d, want %d", code, got, want)
		}
	}
	if got := status(errors.New("x")); got != 503 {
		t.Errorf("the status of an error without a code is %d", got)
	}
}
