package mlxwire

import (
	"context"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// Inspected describes the file that Inspect wrote. For each of Layers it has the array
// layers.N.queries of QueryHeads × Tokens × HeadDim numbers and layers.N.keys of Heads × Tokens ×
// HeadDim, both float32, in the safetensors format.
type Inspected struct {
	Path       string `json:"path"`
	ModelType  string `json:"model_type"`
	Layers     []int  `json:"layers"`
	Heads      int    `json:"heads"` // of the keys
	QueryHeads int    `json:"query_heads"`
	HeadDim    int    `json:"head_dim"`
	Tokens     int    `json:"tokens"`
}

// Inspect writes the queries and keys that the attention over a raw prompt compares to a file. The
// worker's --data-root may restrict the path. Layers are numbers of layers with attention, counted
// from 0; without any, all are written. The prompt has at most 4,096 tokens.
func (m *Model) Inspect(ctx context.Context, prompt, path string, layers ...int) (Inspected, error) {
	return askModel[Inspected](ctx, m, wire.Inspect, inspectFields{Prompt: prompt, Path: path, Layers: layers})
}
