package inference

const (
	defaultMaxTokens = 256
	allLayers        = -1
)

// GenerateConfig says how tokens are chosen and when the text ends.
type GenerateConfig struct {
	MaxTokens     int     // the default is 256
	Temperature   float32 // 0, the default, is greedy
	TopK          int
	TopP          float32
	MinP          float32
	StopTokens    []int32
	RepeatPenalty float32
	ReturnLogits  bool
}

// LoadConfig says how a model is loaded.
type LoadConfig struct {
	Backend       string // "" means the backend that Default returns
	ContextLen    int    // 0 means the model's own
	GPULayers     int    // -1, the default, means all
	ParallelSlots int    // 0 lets the backend choose
	AdapterPath   string
}

// A GenerateOption changes a GenerateConfig.
type GenerateOption func(*GenerateConfig)

// A LoadOption changes a LoadConfig.
type LoadOption func(*LoadConfig)

// DefaultGenerateConfig returns the configuration without options.
func DefaultGenerateConfig() GenerateConfig {
	return GenerateConfig{MaxTokens: defaultMaxTokens}
}

// ApplyGenerateOpts returns the default configuration with the options applied in order.
func ApplyGenerateOpts(options []GenerateOption) GenerateConfig {
	config := DefaultGenerateConfig()
	for _, option := range options {
		option(&config)
	}
	return config
}

// ApplyLoadOpts returns the default configuration with the options applied in order.
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

// WithTopK samples from the k likeliest tokens; 0 switches this off.
func WithTopK(k int) GenerateOption {
	return func(c *GenerateConfig) { c.TopK = k }
}

// WithTopP samples from the likeliest tokens whose probabilities sum up to p; 0 switches this off.
func WithTopP(p float32) GenerateOption {
	return func(c *GenerateConfig) { c.TopP = p }
}

// WithMinP leaves out tokens less likely than p times the likeliest; 0 switches this off.
func WithMinP(p float32) GenerateOption {
	return func(c *GenerateConfig) { c.MinP = p }
}

// WithStopTokens ends the text before any of these tokens, in addition to the model's own.
func WithStopTokens(ids ...int32) GenerateOption {
	return func(c *GenerateConfig) { c.StopTokens = ids }
}

// WithRepeatPenalty makes generated tokens less likely; 0 and 1 switch this off.
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

// WithGPULayers sets how many layers run on the GPU; -1 means all.
func WithGPULayers(layers int) LoadOption {
	return func(c *LoadConfig) { c.GPULayers = layers }
}

// WithParallelSlots sets how many sequences are computed at the same time.
func WithParallelSlots(n int) LoadOption {
	return func(c *LoadConfig) { c.ParallelSlots = n }
}

// WithAdapterPath loads the LoRA adapter in a folder with the model.
func WithAdapterPath(path string) LoadOption {
	return func(c *LoadConfig) { c.AdapterPath = path }
}
