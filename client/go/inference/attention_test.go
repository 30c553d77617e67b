//go:build !nomlxlm

package inference_test

import (
	"context"
	"errors"
	"math"
	"os"
	"testing"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
	"github.com/mlxwire/mlxwire/client/go/inference"
)

func TestTheAttentionOfThePromptIsShown(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	model := loadTiny(t)
	inspector := model.(inference.AttentionInspector)
	one, err := inspector.InspectAttention(context.Background(), "2 + 3 =")
	if err != nil {
		t.Fatal(err)
	}
	longer, err := inspector.InspectAttention(context.Background(), "2 + 3 = 5, and")
	if err != nil {
		t.Fatal(err)
	}
	if !one.HasQueries() || one.NumLayers != model.Info().NumLayers || one.Architecture != model.ModelType() || longer.SeqLen <= one.SeqLen {
		t.Errorf("the snapshot has %d layers, %d and %d tokens, %q", one.NumLayers, one.SeqLen, longer.SeqLen, one.Architecture)
	}
	for layer := range one.NumLayers {
		if len(one.Keys[layer]) != one.NumHeads || len(one.Queries[layer]) != one.NumQueryHeads {
			t.Errorf("layer %d has %d heads of keys and %d of queries", layer, len(one.Keys[layer]), len(one.Queries[layer]))
		}
		for head, keys := range one.Keys[layer] {
			if len(keys) != one.SeqLen*one.HeadDim {
				t.Fatalf("a head has %d numbers, want %d", len(keys), one.SeqLen*one.HeadDim)
			}
			for i, key := range keys { // a later token changes no key before it
				if difference := math.Abs(float64(key - longer.Keys[layer][head][i])); difference > 1e-3 {
					t.Fatalf("layer %d, head %d, number %d differs by %v", layer, head, i, difference)
				}
			}
		}
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) != 0 {
		t.Errorf("the folder of temporary files has %v, %v", left, err)
	}
}

func TestAnInspectionThatFailsSaysWhy(t *testing.T) {
	model := loadMock(t)
	inspector := model.(inference.AttentionInspector)
	if snapshot, err := inspector.InspectAttention(context.Background(), "p"); !errors.Is(err, mlxwire.ErrUnsupportedCapability) || snapshot.HasQueries() {
		t.Errorf("the mock gave %v, %v", snapshot, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := inspector.InspectAttention(ctx, "p"); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that had ended gave %v", err)
	}
	var none context.Context
	if _, err := inspector.InspectAttention(none, "p"); err == nil {
		t.Error("an inspection without a context began")
	}
}
