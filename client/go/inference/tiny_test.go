//go:build !nomlxlm

package inference_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/mlxwire/mlxwire/client/go/inference"
)

// loadTiny loads the real model in testdata.
func loadTiny(t *testing.T, options ...inference.LoadOption) inference.TextModel {
	t.Helper()
	useWorker(t, "mlx")
	model, err := inference.LoadModel(tiny, append(options, inference.WithBackend("mlx_lm"))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { model.Close() })
	return model
}

// read returns the tokens of a stream and their text.
func read(t *testing.T, model inference.TextModel, prompt string, options ...inference.GenerateOption) ([]inference.Token, string) {
	t.Helper()
	tokens := slices.Collect(model.Generate(context.Background(), prompt, options...))
	if err := model.Err(); err != nil {
		t.Fatalf("%q failed: %v", prompt, err)
	}
	return tokens, textOf(tokens)
}

func textOf(tokens []inference.Token) string {
	var text strings.Builder
	for _, token := range tokens {
		text.WriteString(token.Text)
	}
	return text.String()
}

func TestTheTinyModelDoesWhatItsOptionsSay(t *testing.T) {
	model := loadTiny(t)
	ctx := context.Background()

	t.Run("text that was held back belongs to the last token", func(t *testing.T) {
		for most := range 8 {
			prompt := strings.Repeat("🚀", 10)
			tokens, text := read(t, model, prompt, inference.WithMaxTokens(most), inference.WithMinTokens(most))
			if len(tokens) != most {
				t.Errorf("%d tokens came, want %d", len(tokens), most)
			}
			batch, err := model.BatchGenerate(ctx, []string{prompt}, inference.WithMaxTokens(most), inference.WithMinTokens(most))
			if err != nil || textOf(batch[0].Tokens) != text || len(batch[0].Tokens) != most {
				t.Errorf("a batch gave %+v, %v; generate %q", batch, err, text)
			}
		}
	})
	t.Run("a seed repeats its tokens", func(t *testing.T) {
		hot := []inference.GenerateOption{inference.WithTemperature(3), inference.WithMaxTokens(16), inference.WithMinTokens(16)}
		_, one := read(t, model, "Once", append(hot, inference.WithSeed(1))...)
		_, again := read(t, model, "Once", append(hot, inference.WithSeed(1))...)
		_, other := read(t, model, "Once", append(hot, inference.WithSeed(2))...)
		if one != again || one == other {
			t.Errorf("the seeds 1, 1, 2 gave %q, %q, %q", one, again, other)
		}
	})
	t.Run("a bias decides which token comes", func(t *testing.T) {
		tokens, _ := read(t, model, "Once", inference.WithLogitBias(map[int32]float32{77: 100}), inference.WithMaxTokens(1))
		if len(tokens) != 1 || tokens[0].ID != 77 {
			t.Errorf("the tokens are %+v, want the id 77", tokens)
		}
	})
	t.Run("a chat takes the switch for the cache", func(t *testing.T) {
		messages := []inference.Message{{Role: "user", Content: "What is 2 + 3?"}}
		answer := textOf(slices.Collect(model.Chat(ctx, messages, inference.WithCache(false))))
		if answer != "5" || model.Err() != nil {
			t.Errorf("the answer is %q, %v", answer, model.Err())
		}
	})
	t.Run("classify draws from the row", func(t *testing.T) {
		prompts := slices.Repeat([]string{"2 + 3 ="}, 16)
		ids := func(options ...inference.GenerateOption) (ids []int32) {
			results, err := model.Classify(ctx, prompts, options...)
			if err != nil {
				t.Fatal(err)
			}
			for _, result := range results {
				ids = append(ids, result.Token.ID)
			}
			return ids
		}
		likeliest := ids()
		hot := []inference.GenerateOption{inference.WithTemperature(50), inference.WithRepeatPenalty(1.2)}
		if drawn := ids(hot...); slices.Equal(drawn, likeliest) {
			t.Errorf("a hot classify gave the likeliest tokens %v", drawn)
		}
		if drawn := ids(append(hot, inference.WithTopK(1))...); !slices.Equal(drawn, likeliest) {
			t.Errorf("the single likeliest token was not drawn: %v", drawn)
		}
		if one, again := ids(append(hot, inference.WithSeed(4))...), ids(append(hot, inference.WithSeed(4))...); !slices.Equal(one, again) {
			t.Errorf("a seed gave %v and %v", one, again)
		}
	})
	t.Run("peak memory is of the operation", func(t *testing.T) {
		read(t, model, strings.Repeat("one two three ", 80), inference.WithMaxTokens(1), inference.WithCache(false))
		large := model.Metrics().PeakMemoryBytes
		read(t, model, "one", inference.WithMaxTokens(1), inference.WithCache(false))
		if small := model.Metrics().PeakMemoryBytes; small == 0 || small >= large {
			t.Errorf("a small operation has the peak %d, a large one before it %d", small, large)
		}
	})
}

func TestAContextLengthIsARotatingWindow(t *testing.T) {
	const window, wanted = 32, 100
	model := loadTiny(t, inference.WithContextLen(window))
	tokens, _ := read(t, model, strings.Repeat("one two ", window), inference.WithMaxTokens(wanted), inference.WithMinTokens(wanted))
	if len(tokens) != wanted {
		t.Errorf("%d tokens came, want %d", len(tokens), wanted)
	}
	batch, err := model.BatchGenerate(context.Background(), []string{"one", "two"}, inference.WithMaxTokens(wanted), inference.WithMinTokens(wanted))
	if err != nil || len(batch[0].Tokens) != wanted || batch[0].Err != nil || batch[1].Err != nil {
		t.Errorf("the batch gave %d tokens, %v, %v", len(batch[0].Tokens), batch[0].Err, err)
	}
}
