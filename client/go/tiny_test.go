package mlxwire

import (
	"strings"
	"testing"
	"time"
)

// loadTiny loads the model of testdata with the real engine, which starts slowly on a cold disk.
func loadTiny(t testing.TB) *Model {
	t.Helper()
	worker, err := Start(t.Context(), realWorker(t, "mlx"), WithStartTimeout(2*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { worker.Close() })
	model, err := worker.Load(t.Context(), "../../testdata/tiny", WithContextLen(512))
	if err != nil {
		t.Fatal(err)
	}
	return model
}

func TestTheTinyModelCanAdd(t *testing.T) {
	model := loadTiny(t)
	stream, err := model.ChatStream(t.Context(), UserTurn("What is 2 + 3?"), WithMaxTokens(32), WithLogprobs(2))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for token, err := range stream.Tokens() {
		if err != nil {
			t.Fatal(err)
		}
		if !token.Flush && (token.Logprob == nil || len(token.TopLogprobs) != 2) {
			t.Errorf("%+v has no log-probabilities", token)
		}
		text.WriteString(token.Text)
	}
	done, _ := stream.Done()
	if text.String() != "5" || done.FinishReason != FinishStop || done.Metrics.PromptTokens == 0 {
		t.Errorf("the model answered %q and ended with %+v", text.String(), done)
	}
	classes, err := model.Classify(t.Context(), []string{"2 + 3 ="}, WithLogits())
	if err != nil || len(classes[0].Logits) != model.Loaded().VocabSize {
		t.Errorf("classify returned %d results, %v", len(classes), err)
	}
}

func TestTheTinyModelTokenizesAsItGenerates(t *testing.T) {
	model := loadTiny(t)
	ctx := t.Context()
	const text = "2 + 3 ="
	tokens, err := model.Tokenize(ctx, text)
	if err != nil || tokens.Count == 0 || len(tokens.IDs) != tokens.Count || len(tokens.Pieces) != tokens.Count {
		t.Fatalf("tokenize returned %+v, %v", tokens, err)
	}
	back, err := model.Detokenize(ctx, tokens.IDs)
	if err != nil || !strings.Contains(back, text) {
		t.Errorf("detokenize returned %q, %v", back, err)
	}
	counted, err := model.Tokenize(ctx, text, WithCountOnly())
	if err != nil || counted.Count != tokens.Count || counted.IDs != nil || counted.Pieces != nil {
		t.Errorf("the count is %+v, %v", counted, err)
	}
	if _, err := collect(model.Generate(ctx, text, WithMaxTokens(1), WithCache(false))); err != nil {
		t.Fatal(err)
	}
	if computed := model.Metrics().PromptTokens; computed != tokens.Count {
		t.Errorf("generate computed %d tokens of the prompt, tokenize counted %d", computed, tokens.Count)
	}
	conversation := UserTurn("What is 2 + 3?")
	chat, err := model.TokenizeChat(ctx, conversation)
	if err != nil || len(chat.IDs) != chat.Count {
		t.Fatalf("tokenize of a conversation returned %+v, %v", chat, err)
	}
	if _, err := collect(model.Chat(ctx, conversation, WithMaxTokens(1), WithCache(false))); err != nil {
		t.Fatal(err)
	}
	if computed := model.Metrics().PromptTokens; computed != chat.Count {
		t.Errorf("chat computed %d tokens of the prompt, tokenize counted %d", computed, chat.Count)
	}
}
