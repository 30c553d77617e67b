package inference

import "time"

// A Token is one generated token. Its text is empty while a character is not complete.
type Token struct {
	ID   int32
	Text string
}

// A Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// ClassifyResult is the next token of one prompt: the likeliest, or with WithTemperature one that was
// drawn.
type ClassifyResult struct {
	Token  Token
	Logits []float32 // one for each token of the vocabulary, if WithLogits asked for them
}

// BatchResult holds the tokens that continue one prompt of a batch.
type BatchResult struct {
	Tokens []Token
	Err    error // why this prompt failed, or nil
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

// ModelInfo describes a loaded model. QuantBits and QuantGroup are 0 if its weights are not
// quantized.
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
	Path       string // absolute
	ModelType  string
	QuantBits  int
	QuantGroup int
	NumFiles   int // the number of weight files
}
