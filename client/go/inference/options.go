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
	Seed          *uint32           // nil draws other tokens each time
	MinTokens     int               // the text does not end before that many tokens
	Thinking      *bool             // nil is the template's own default
	Cache         *bool             // nil is true: reuse what earlier prompts computed
	Adapter       string            // "" computes with the model alone, a name with the adapter that AdapterLoader loaded
	LogitBias     map[int32]float32 // added to the logits of these tokens
	MetricsSink   func(GenerateMetrics)
	ThoughtSink   func(text string) // gets the model's thoughts, which no Token has
}

// LoadConfig says how a model is loaded.
type LoadConfig struct {
	Backend       string // "" means the backend that Default returns
	ContextLen    int    // the window in tokens; 0 means the model's own
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

// ApplyGenerateOpts returns the default configuration with the options applied in order. It skips
// options that are nil.
func ApplyGenerateOpts(options []GenerateOption) GenerateConfig {
	config := DefaultGenerateConfig()
	for _, option := range options {
		if option != nil {
			option(&config)
		}
	}
	return config
}

// ApplyLoadOpts returns the default configuration with the options applied in order. It skips options
// that are nil.
func ApplyLoadOpts(options []LoadOption) LoadConfig {
	config := LoadConfig{GPULayers: allLayers}
	for _, option := range options {
		if option != nil {
			option(&config)
		}
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

// WithSeed makes sampling repeatable.
func WithSeed(seed uint32) GenerateOption {
	return func(c *GenerateConfig) { c.Seed = &seed }
}

// WithMinTokens allows no end of text before n tokens.
func WithMinTokens(n int) GenerateOption {
	return func(c *GenerateConfig) { c.MinTokens = n }
}

// WithThinking sets the chat template's own switch for thinking. It is an option of Chat.
func WithThinking(on bool) GenerateOption {
	return func(c *GenerateConfig) { c.Thinking = &on }
}

// WithCache chooses whether the request reuses what earlier prompts computed.
func WithCache(reuse bool) GenerateOption {
	return func(c *GenerateConfig) { c.Cache = &reuse }
}

// WithLoadedAdapter computes with an adapter that an AdapterLoader has loaded under this name.
func WithLoadedAdapter(name string) GenerateOption {
	return func(c *GenerateConfig) { c.Adapter = name }
}

// WithLogitBias adds a value to the logits of tokens, by their ids.
func WithLogitBias(bias map[int32]float32) GenerateOption {
	return func(c *GenerateConfig) { c.LogitBias = bias }
}

// WithMetricsSink calls tell once with the figures of this request, when it has ended and before the
// range or the call returns. The figures are 0 if the request failed. After a stream was left early,
// the range waits a short time until the worker has ended the request.
func WithMetricsSink(tell func(GenerateMetrics)) GenerateOption {
	return func(c *GenerateConfig) { c.MetricsSink = tell }
}

// WithThoughtSink calls tell with each piece of the model's thoughts as it arrives, from the goroutine that
// ranges over the stream. The tokens of a thought have an empty Text, since it is no part of the answer.
// It is an option of Chat.
func WithThoughtSink(tell func(text string)) GenerateOption {
	return func(c *GenerateConfig) { c.ThoughtSink = tell }
}

// WithBackend names the backend.
func WithBackend(name string) LoadOption {
	return func(c *LoadConfig) { c.Backend = name }
}

// WithContextLen sets how many tokens the model looks back at. The backend mlx_lm makes it a rotating
// window, which forgets the oldest tokens. In a model that can't rotate, a text that fills the context
// ends with an error.
func WithContextLen(tokens int) LoadOption {
	return func(c *LoadConfig) { c.ContextLen = tokens }
}

// WithGPULayers sets how many layers run on the GPU; -1 means all. The backend mlx_lm computes all layers
// on one device whatever the number is, and says so in WarningReporter.
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
