package mlxwire

// Metrics is what one request took: counts in tokens, times in seconds, memory in bytes.
// DecodeSeconds runs from the first token to the last, so DecodeTokensPerSecond counts the
// tokens after the first.
type Metrics struct {
	PromptTokens           int      `json:"prompt_tokens,omitempty"`
	CachedTokens           int      `json:"cached_tokens,omitempty"`
	CacheMiss              *string  `json:"cache_miss,omitempty"` // why nothing was reused
	GeneratedTokens        int      `json:"generated_tokens,omitempty"`
	QueueSeconds           float64  `json:"queue_seconds,omitempty"`
	PrefillSeconds         float64  `json:"prefill_seconds,omitempty"`
	DecodeSeconds          float64  `json:"decode_seconds,omitempty"`
	TotalSeconds           float64  `json:"total_seconds,omitempty"`
	FirstTokenSeconds      *float64 `json:"first_token_seconds,omitempty"` // nil without a token
	PrefillTokensPerSecond float64  `json:"prefill_tokens_per_second,omitempty"`
	DecodeTokensPerSecond  float64  `json:"decode_tokens_per_second,omitempty"`
	PeakMemoryBytes        uint64   `json:"peak_memory_bytes,omitempty"`
	ActiveMemoryBytes      uint64   `json:"active_memory_bytes,omitempty"`
	BatchSize              int      `json:"batch_size,omitempty"`
}

// WorkerMetrics are sums over the worker's life, and its state now.
type WorkerMetrics struct {
	Requests               int     `json:"requests,omitempty"`
	InFlight               int     `json:"in_flight,omitempty"`
	Queued                 int     `json:"queued,omitempty"`
	Cancelled              int     `json:"cancelled,omitempty"`
	Errors                 int     `json:"errors,omitempty"`
	UptimeSeconds          float64 `json:"uptime_seconds,omitempty"`
	PromptTokens           int     `json:"prompt_tokens,omitempty"`
	CachedTokens           int     `json:"cached_tokens,omitempty"`
	GeneratedTokens        int     `json:"generated_tokens,omitempty"`
	QueueSeconds           float64 `json:"queue_seconds,omitempty"`
	PrefillSeconds         float64 `json:"prefill_seconds,omitempty"`
	DecodeSeconds          float64 `json:"decode_seconds,omitempty"`
	PrefillTokensPerSecond float64 `json:"prefill_tokens_per_second,omitempty"`
	DecodeTokensPerSecond  float64 `json:"decode_tokens_per_second,omitempty"`
	PeakMemoryBytes        uint64  `json:"peak_memory_bytes,omitempty"`
	ActiveMemoryBytes      uint64  `json:"active_memory_bytes,omitempty"`
	BatchSize              int     `json:"batch_size,omitempty"`
}
