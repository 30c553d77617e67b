package inference

import "time"

// A Token is one generated token; its text may be empty, where a character is not complete yet.
type Token struct {
	ID   int32
	Text string
}

// A Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// ClassifyResult is the likeliest next token of one prompt.
type ClassifyResult struct {
	Token  Token
	Logits []float32 // vocabulary-sized, only with WithLogits
}

// BatchResult is what one prompt of a batch became.
type BatchResult struct {
	Tokens []Token
	Err    error // this prompt's own
}

// GenerateMetrics are the figures of one operation.
type GenerateMetrics struct {
	PromptTokens        int
	GeneratedTokens     int
	PrefillDuration     time.Duration
	DecodeDuration      time.Duration
	TotalDuration       time.Duration
	PrefillTokensPerSec float64
	DecodeTokensPerSec  float64
	PeakMemoryBytes     uint64
	ActiveMemoryBytes   uint64
}

// ModelInfo describes a loaded model. QuantBits and QuantGroup are 0 where nothing is quantized.
type ModelInfo struct {
	Architecture string
	VocabSize    int
	NumLayers    int
	HiddenSize   int
	QuantBits    int
	QuantGroup   int
}

// DiscoveredModel is a model folder that Discover found.
type DiscoveredModel struct {
	Path       string
	ModelType  string
	QuantBits  int
	QuantGroup int
	NumFiles   int // weight files
}
