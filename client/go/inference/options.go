package inference

const (
	defaultMaxTokens = 256
	allLayers        = -1
)

// GenerateConfig says how tokens are chosen and when to stop.
type GenerateConfig struct {
	MaxTokens     int     // default 256
	Temperature   float32 // 0: greedy, the default
	TopK          int
	TopP          float32
	MinP          float32
	StopTokens    []int32
	RepeatPenalty float32
	ReturnLogits  bool
}

// LoadConfig says how a model is loaded.
type LoadConfig struct {
	Backend       string // empty: Default
	ContextLen    int    // 0: the model's own
	GPULayers     int    // default -1: all
	ParallelSlots int    // 0: the backend's choice
	AdapterPath   string
}

// A GenerateOption changes a GenerateConfig.
type GenerateOption func(*GenerateConfig)

// A LoadOption changes a LoadConfig.
type LoadOption func(*LoadConfig)

// DefaultGenerateConfig is what holds without options.
func DefaultGenerateConfig() GenerateConfig {
	return GenerateConfig{MaxTokens: defaultMaxTokens}
}

// ApplyGenerateOpts is the default with options applied, in their order.
func ApplyGenerateOpts(options []GenerateOption) GenerateConfig {
	config := DefaultGenerateConfig()
	for _, option := range options {
		option(&config)
	}
	return config
}

// ApplyLoadOpts is the default with options applied, in their order.
func ApplyLoadOpts(options []LoadOption) LoadConfig {
	config := LoadConfig{GPULayers: allLayers}
	for _, option := range options {
		option(&config)
	}
	return config
}

// WithMaxTokens ends the text after n tokens.
func WithMaxTokens(n int) GenerateOption {
	return func(c *GenerateConfig) { c.MaxTokens = n }
}

// WithTemperature sets the sampling temperature; 0 is greedy.
func WithTemperature(t float32) GenerateOption {
	return func(c *GenerateConfig) { c.Temperature = t }
}

// WithTopK samples from the k likeliest tokens; 0 is off.
func WithTopK(k int) GenerateOption {
	return func(c *GenerateConfig) { c.TopK = k }
}

// WithTopP samples from the likeliest tokens that have probability p together; 0 is off.
func WithTopP(p float32) GenerateOption {
	return func(c *GenerateConfig) { c.TopP = p }
}

// WithMinP leaves out tokens less likely than p times the likeliest; 0 is off.
func WithMinP(p float32) GenerateOption {
	return func(c *GenerateConfig) { c.MinP = p }
}

// WithStopTokens ends the text before any of these tokens, beside the model's own.
func WithStopTokens(ids ...int32) GenerateOption {
	return func(c *GenerateConfig) { c.StopTokens = ids }
}

// WithRepeatPenalty makes generated tokens less likely; 0 and 1 are off.
func WithRepeatPenalty(penalty float32) GenerateOption {
	return func(c *GenerateConfig) { c.RepeatPenalty = penalty }
}

// WithLogits gives each result of Classify its logits.
func WithLogits() GenerateOption {
	return func(c *GenerateConfig) { c.ReturnLogits = true }
}

// WithBackend names the backend.
func WithBackend(name string) LoadOption {
	return func(c *LoadConfig) { c.Backend = name }
}

// WithContextLen bounds the tokens of prompt and answer together.
func WithContextLen(tokens int) LoadOption {
	return func(c *LoadConfig) { c.ContextLen = tokens }
}

// WithGPULayers says how many layers run on the GPU; -1 is all.
func WithGPULayers(layers int) LoadOption {
	return func(c *LoadConfig) { c.GPULayers = layers }
}

// WithParallelSlots says how many sequences are computed at once.
func WithParallelSlots(n int) LoadOption {
	return func(c *LoadConfig) { c.ParallelSlots = n }
}

// WithAdapterPath loads a LoRA adapter's folder with the model.
func WithAdapterPath(path string) LoadOption {
	return func(c *LoadConfig) { c.AdapterPath = path }
}
