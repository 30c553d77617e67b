package mlxwire

// Metrics is what one request took: counts in tokens, times in seconds, memory in bytes.
// DecodeSeconds runs from the first token to the last, so DecodeTokensPerSecond counts the
// tokens after the first.
type Metrics struct {
	PromptTokens           int      `json:"prompt_tokens"`
	CachedTokens           int      `json:"cached_tokens"`
	CacheMiss              *string  `json:"cache_miss"` // why nothing was reused
	GeneratedTokens        int      `json:"generated_tokens"`
	QueueSeconds           float64  `json:"queue_seconds"`
	PrefillSeconds         float64  `json:"prefill_seconds"`
	DecodeSeconds          float64  `json:"decode_seconds"`
	TotalSeconds           float64  `json:"total_seconds"`
	FirstTokenSeconds      *float64 `json:"first_token_seconds"` // nil without a token
	PrefillTokensPerSecond float64  `json:"prefill_tokens_per_second"`
	DecodeTokensPerSecond  float64  `json:"decode_tokens_per_second"`
	PeakMemoryBytes        uint64   `json:"peak_memory_bytes"`
	ActiveMemoryBytes      uint64   `json:"active_memory_bytes"`
	BatchSize              int      `json:"batch_size"`
}

// WorkerMetrics are sums over the worker's life, and its state now.
type WorkerMetrics struct {
	Requests               int     `json:"requests"`
	InFlight               int     `json:"in_flight"`
	Queued                 int     `json:"queued"`
	Cancelled              int     `json:"cancelled"`
	Errors                 int     `json:"errors"`
	UptimeSeconds          float64 `json:"uptime_seconds"`
	PromptTokens           int     `json:"prompt_tokens"`
	CachedTokens           int     `json:"cached_tokens"`
	GeneratedTokens        int     `json:"generated_tokens"`
	QueueSeconds           float64 `json:"queue_seconds"`
	PrefillSeconds         float64 `json:"prefill_seconds"`
	DecodeSeconds          float64 `json:"decode_seconds"`
	PrefillTokensPerSecond float64 `json:"prefill_tokens_per_second"`
	DecodeTokensPerSecond  float64 `json:"decode_tokens_per_second"`
	PeakMemoryBytes        uint64  `json:"peak_memory_bytes"`
	ActiveMemoryBytes      uint64  `json:"active_memory_bytes"`
	BatchSize              int     `json:"batch_size"`
}
