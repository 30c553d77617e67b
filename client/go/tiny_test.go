package mlxwire

import (
	"errors"
	"math"
	"slices"
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

func TestTheTinyModelReadsTexts(t *testing.T) {
	model := loadTiny(t)
	ctx := t.Context()
	chat, err := model.TokenizeChat(ctx, UserTurn("What is 2 + 3?"))
	rendered, renderErr := model.Render(ctx, UserTurn("What is 2 + 3?"))
	if err != nil || renderErr != nil || !slices.Equal(rendered.IDs, chat.IDs) || rendered.Messages[0].Count != rendered.AnswerStart {
		t.Errorf("render returned %+v, %v; tokenize %+v, %v", rendered, renderErr, chat, err)
	}
	long := strings.Repeat("x", 20_000)
	embeddings, err := model.Embed(ctx, append(Texts("2 + 3", long), TokenTexts(chat.IDs)...), WithPooling("mean"), WithNormalize(true))
	if err != nil || len(embeddings) != 3 || !errors.Is(embeddings[1].Err, ErrContextOverflow) || embeddings[2].Tokens != chat.Count {
		t.Fatalf("embed returned %+v, %v", embeddings, err)
	}
	length := 0.0
	for _, number := range embeddings[0].Vector {
		length += float64(number) * float64(number)
	}
	if len(embeddings[0].Vector) != model.Loaded().HiddenSize || math.Abs(length-1) > 1e-3 {
		t.Errorf("the vector has %d numbers and the squared length %v", len(embeddings[0].Vector), length)
	}
	scores, err := model.Score(ctx, TokenTexts(chat.IDs))
	if err != nil || !slices.Equal(scores[0].TokenIDs, chat.IDs) || scores[0].Logprobs[0] != nil || *scores[0].Logprobs[1] > 0 {
		t.Errorf("score returned %+v, %v", scores, err)
	}
	answers, err := model.ClassifyChats(ctx, [][]Message{UserTurn("What is 2 + 3?")}, WithLabels("5", "7"))
	if err != nil || answers[0].Label() != "5" {
		t.Errorf("classify returned %+v, %v", answers, err)
	}
	if _, err := model.Rerank(ctx, "q", []string{"d"}); !errors.Is(err, ErrUnsupportedCapability) {
		t.Errorf("rerank by a model that does not rerank gave %v", err)
	}
	found, err := model.worker.Discover(ctx, []string{"../../testdata"}, WithCheck("full"))
	if err != nil || len(found) == 0 || found[0].Name != "tiny" || found[0].Parameters != model.Loaded().Parameters {
		t.Errorf("discover returned %+v, %v", found, err)
	}
	fit, err := model.worker.Fit(ctx, found[0].Path, WithContextLen(512))
	if err != nil || !fit.Fits || fit.ContextLen != 512 || fit.TotalBytes < fit.WeightBytes {
		t.Errorf("fit returned %+v, %v", fit, err)
	}
}
