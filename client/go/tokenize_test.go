package mlxwire

import (
	"errors"
	"slices"
	"testing"
)

func TestTokenizeSendsTheTextWithItsOptionsAndReturnsTheTokens(t *testing.T) {
	sent := make(chan scriptedRequest, 4)
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		for range 4 {
			sent <- w.tokenized()
		}
	})
	ctx := deadlined(t)
	conversation := UserTurn("a b")
	for _, c := range []struct {
		call func() (Tokenized, error)
		want []string
	}{
		{func() (Tokenized, error) { return model.Tokenize(ctx, "a b") }, []string{"cmd=tokenize", "text=a b"}},
		{
			func() (Tokenized, error) { return model.Tokenize(ctx, "", WithSpecialTokens(false)) },
			[]string{"cmd=tokenize", "special_tokens=false", "text="},
		},
		{
			func() (Tokenized, error) {
				return model.TokenizeChat(ctx, conversation, WithThinking(true), WithSpecialTokens(true))
			},
			[]string{"cmd=tokenize", "messages=[map[content:a b role:user]]", "special_tokens=true", "thinking=true"},
		},
		{func() (Tokenized, error) { return model.TokenizeChat(ctx, nil) }, []string{"cmd=tokenize", "messages=[]"}},
	} {
		tokens, err := c.call()
		if err != nil || tokens.Count != 3 || !slices.Equal(tokens.IDs, []int{1, 20, 21}) ||
			!slices.Equal(tokens.Pieces, []string{"<s>", "a", " b"}) {
			t.Errorf("tokenize returned %+v, %v", tokens, err)
		}
		if got := (<-sent).fields(t); !slices.Equal(got, c.want) {
			t.Errorf("the client sent %q, want %q", got, c.want)
		}
	}
}

func TestWithCountOnlyReturnsNoTokens(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		request := w.next("tokenize")
		if got, want := request.fields(t), []string{"cmd=tokenize", "count_only=true", "text=a b"}; !slices.Equal(got, want) {
			t.Errorf("the client sent %q, want %q", got, want)
		}
		w.result(request.ID, `"ids":null,"count":3,"pieces":null`)
	})
	tokens, err := model.Tokenize(deadlined(t), "a b", WithCountOnly())
	if err != nil || tokens.Count != 3 || tokens.IDs != nil || tokens.Pieces != nil {
		t.Errorf("tokenize returned %+v, %v", tokens, err)
	}
}

func TestDetokenizeReturnsTheText(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		for _, want := range []string{"ids=[20 21]", "ids=[]"} {
			request := w.next("detokenize")
			if got := request.fields(t); !slices.Equal(got, []string{"cmd=detokenize", want}) {
				t.Errorf("the client sent %q, want %q", got, want)
			}
			w.result(request.ID, `"text":"a b"`)
		}
	})
	for _, ids := range [][]int{{20, 21}, nil} {
		if text, err := model.Detokenize(deadlined(t), ids); err != nil || text != "a b" {
			t.Errorf("detokenize returned %q, %v", text, err)
		}
	}
}

func TestAMalformedAnswerToTokenizeEndsTheWorker(t *testing.T) {
	for command, fields := range map[string]string{"tokenize": `"ids":[1]`, "detokenize": `"text":1`} {
		worker, model := startModel(t, windows, func(w *scriptedWorker) {
			w.result(w.next(command).ID, fields)
			<-w.exited
		})
		var err error
		if command == "tokenize" {
			_, err = model.Tokenize(deadlined(t), "a")
		} else {
			_, err = model.Detokenize(deadlined(t), []int{1})
		}
		if !errors.Is(err, ErrProtocolViolation) {
			t.Errorf("%s gave %v, want protocol_violation", command, err)
		}
		await(t, "the worker's end", worker.Done())
	}
}

func TestTokenizeRefusesWhatTheClientWouldNotSend(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		w.tokenized() // a refused request would have been sent before this one
	})
	for field, option := range map[string]RequestOption{
		"progress": WithProgress(func(Progress) {}), "stream": WithOnToken(func(Token) {}),
	} {
		_, err := model.Tokenize(deadlined(t), "a", option)
		var own *Error
		if !errors.As(err, &own) || own.Code != ErrInvalidParams || own.Field() != field {
			t.Errorf("tokenize gave %v, want %q refused", err, field)
		}
	}
	if _, err := model.Tokenize(deadlined(t), "a"); err != nil {
		t.Error(err)
	}
}
