package mlxwire

// What a worker and its model say of themselves.

// ModelInfo is what is loaded. QuantBits and QuantGroup are 0 where nothing is quantized.
type ModelInfo struct {
	ModelType     string       `json:"model_type"`
	VocabSize     int          `json:"vocab_size"`
	Layers        int          `json:"layers"`
	HiddenSize    int          `json:"hidden_size"`
	ContextLen    int          `json:"context_len"` // tokens
	QuantBits     int          `json:"quant_bits"`
	QuantGroup    int          `json:"quant_group"`
	Parameters    int64        `json:"parameters"` // before packing
	WeightBytes   int64        `json:"weight_bytes"`
	Path          string       `json:"path"`
	AdapterPath   *string      `json:"adapter_path"`
	ChatTemplate  bool         `json:"chat_template"`
	ParallelSlots int          `json:"parallel_slots"`
	Capabilities  Capabilities `json:"capabilities"`
}

// Loaded is the answer to a load.
type Loaded struct {
	ModelInfo
	LoadSeconds float64 `json:"load_seconds"`
}

// Capabilities are what a worker, or its model, can do.
type Capabilities map[string]any

// Has reports whether a capability is there; one that is false or null is not.
func (c Capabilities) Has(name string) bool {
	value, listed := c[name]
	return listed && value != nil && value != false
}

// Hello is what a worker says of itself in the handshake.
type Hello struct {
	Protocol     int            `json:"protocol"`
	Worker       WorkerIdentity `json:"worker"`
	Capabilities Capabilities   `json:"capabilities"`
	Limits       Limits         `json:"limits"`
	Events       []string       `json:"events"`
}

// WorkerIdentity is which worker answers; Engine is "mlx" or "mock".
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
