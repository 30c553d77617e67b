package inference

import "context"

// An AttentionSnapshot holds the keys and queries of a model's attention over one prompt, after norms
// and rotary embedding. Keys[layer][head] has SeqLen × HeadDim numbers, position after position;
// Queries likewise, with NumQueryHeads heads.
type AttentionSnapshot struct {
	NumLayers     int           `json:"num_layers"` // layers with attention
	NumHeads      int           `json:"num_heads"`  // heads of the keys
	SeqLen        int           `json:"seq_len"`    // tokens of the prompt
	HeadDim       int           `json:"head_dim"`
	NumQueryHeads int           `json:"num_query_heads"` // 0 if there are no queries
	Keys          [][][]float32 `json:"keys"`
	Queries       [][][]float32 `json:"queries"`
	Architecture  string        `json:"architecture"`
}

// HasQueries returns true if the snapshot has queries and not only keys.
func (s *AttentionSnapshot) HasQueries() bool {
	return s != nil && s.NumQueryHeads > 0 && len(s.Queries) > 0
}

// An AttentionInspector shows the attention over a prompt of at most 4,096 tokens. It takes no option
// that chooses tokens or ends a text: it generates nothing, and ignores them.
type AttentionInspector interface {
	InspectAttention(ctx context.Context, prompt string, options ...GenerateOption) (*AttentionSnapshot, error)
}
