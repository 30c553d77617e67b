package mlxwire

// How a worker and its model describe themselves.

// ModelInfo describes the loaded model. QuantBits and QuantGroup are those of the stored weights, 0
// if these are not quantized; WeightBytes are held in memory. BLAS names the library that the worker
// uses in place of MLX's own BLAS, nil if there is none, and BLASThreads is 0 if it is not known.
type ModelInfo struct {
	ModelType     string       `json:"model_type"`
	VocabSize     int          `json:"vocab_size"`
	Layers        int          `json:"layers"`
	HiddenSize    int          `json:"hidden_size"`
	ContextLen    int          `json:"context_len"` // in tokens
	QuantBits     int          `json:"quant_bits"`
	QuantGroup    int          `json:"quant_group"`
	Parameters    int64        `json:"parameters"` // counted before quantization packs them
	WeightBytes   int64        `json:"weight_bytes"`
	Path          string       `json:"path"`
	AdapterPath   *string      `json:"adapter_path"`
	ChatTemplate  bool         `json:"chat_template"`
	ParallelSlots int          `json:"parallel_slots"`
	Capabilities  Capabilities `json:"capabilities"`
	ComputeDtype  string       `json:"compute_dtype" since:"0.1"`
	BLAS          *string      `json:"blas" since:"0.1"`
	BLASThreads   int          `json:"blas_threads" since:"0.1"`
	// Adapters are those that requests may name.
	Adapters []AdapterInfo `json:"adapters" since:"0.1"`
	// QuantMode is that of the quantized weights, "" without any. Pooling is that of an embedding model, or nil.
	QuantMode string  `json:"quant_mode" since:"0.1"`
	Pooling   *string `json:"pooling" since:"0.1"`
}

// Loaded is the worker's answer to a load.
type Loaded struct {
	ModelInfo
	LoadSeconds float64 `json:"load_seconds"`
	// Warnings are sentences about options that have no effect in this worker, and about slowness.
	// It is empty if the worker is too old to send warnings.
	Warnings []string `json:"warnings" since:"0.1"`
}

// Capabilities names what a worker or its model can do.
type Capabilities map[string]any

// Has returns true if the capability is listed with a value other than false, null and 0.
func (c Capabilities) Has(name string) bool {
	value, listed := c[name]
	return listed && value != nil && value != false && value != 0.0
}

// Hello is the worker's answer in the handshake.
type Hello struct {
	Protocol     int            `json:"protocol"`
	Worker       WorkerIdentity `json:"worker"`
	Capabilities Capabilities   `json:"capabilities"`
	Limits       Limits         `json:"limits"`
	Events       []string       `json:"events"`
}

// WorkerIdentity names the worker that answers. Engine is "mlx" or "mock".
type WorkerIdentity struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	PID     int    `json:"pid"`
	Engine  string `json:"engine"`
}

// Limits are the sizes that a worker enforces.
type Limits struct {
	MaxLineBytes int `json:"max_line_bytes"`
	MaxInflight  int `json:"max_inflight"`
}
