//go:build !nomlxlm

package inference

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// InspectAttention implements AttentionInspector. The worker writes the numbers to a temporary file,
// since they are too many for a line; a worker with --data-root must be given the folder of temporary
// files as a root.
func (m *workerModel) InspectAttention(ctx context.Context, prompt string, options ...GenerateOption) (*AttentionSnapshot, error) {
	if _, err := requestOptions(ctx, generating, ApplyGenerateOpts(options)); err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "mlxwire-attention-")
	if err != nil {
		return nil, fmt.Errorf("inference: can't make a folder for the queries and keys: %w", err)
	}
	defer os.RemoveAll(folder)
	ctx, end := m.inFlight.begin(ctx)
	defer end()
	inspected, err := m.model.Inspect(ctx, prompt, filepath.Join(folder, "attention.safetensors"))
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	arrays, err := readArrays(inspected.Path)
	if err != nil {
		return nil, fmt.Errorf("inference: can't read the queries and keys that the worker wrote: %w", err)
	}
	snapshot := &AttentionSnapshot{
		NumLayers: len(inspected.Layers), NumHeads: inspected.Heads, SeqLen: inspected.Tokens,
		HeadDim: inspected.HeadDim, NumQueryHeads: inspected.QueryHeads, Architecture: family(inspected.ModelType),
	}
	for _, layer := range inspected.Layers {
		snapshot.Keys = append(snapshot.Keys, arrays[fmt.Sprintf("layers.%d.keys", layer)])
		snapshot.Queries = append(snapshot.Queries, arrays[fmt.Sprintf("layers.%d.queries", layer)])
	}
	return snapshot, nil
}
