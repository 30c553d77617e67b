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
