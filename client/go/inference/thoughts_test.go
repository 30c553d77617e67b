//go:build !nomlxlm

package inference_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/mlxwire/mlxwire/client/go/inference"
)

func TestThoughtsAreNoPartOfAnAnswer(t *testing.T) {
	model := loadMock(t)
	question := []inference.Message{{Role: "user", Content: "<think>hm hm</think>yes"}}
	var thoughts strings.Builder
	sink := inference.WithThoughtSink(func(text string) { thoughts.WriteString(text) })
	for _, options := range [][]inference.GenerateOption{nil, {sink}} {
		tokens := slices.Collect(model.Chat(context.Background(), question, options...))
		if answer := textOf(tokens); answer != "yes" || model.Err() != nil {
			t.Errorf("the answer is %q, %v", answer, model.Err())
		}
		if metrics := model.Metrics(); len(tokens) != metrics.GeneratedTokens {
			t.Errorf("%d tokens came of %d", len(tokens), metrics.GeneratedTokens)
		}
	}
	if thoughts.String() != "hm hm" {
		t.Errorf("the thoughts are %q", thoughts.String())
	}
}
