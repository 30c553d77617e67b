package mlxwire

import "github.com/mlxwire/mlxwire/client/go/internal/wire"

// This file holds the requests as the wire spells them (SPEC §4). An optional field is a pointer, a
// slice or a map; it is sent only if it was set, so that the worker's default holds otherwise. The tag
// `option` is the name that the caller wrote, if it differs; errors use it (option_names.go). Tests
// compare the names with protocol/schema and with the declared options.

type helloFields struct {
	Protocols []int      `json:"protocols"`
	Client    clientInfo `json:"client,omitzero"`
	Require   []string   `json:"require,omitempty" option:"WithRequire"`
	Events    []string   `json:"events,omitempty"`
}

type clientInfo struct {
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
}

type loadFields struct {
	Path string `json:"path"`
	loadSettings
}

// fitFields have the Path of a folder, or none for the loaded model. fit refuses the options of a load
// that have nothing to do with memory.
type fitFields struct {
	Path *string `json:"path,omitempty"`
	loadSettings
}

// loadSettings are the options of a load.
type loadSettings struct {
	ContextLen       *any     `json:"context_len,omitempty" option:"WithContextLen"` // a number, or "auto"
	AdapterPath      *string  `json:"adapter_path,omitempty" option:"WithAdapter"`
	ParallelSlots    *int     `json:"parallel_slots,omitempty" option:"WithParallelSlots"`
	Warmup           *bool    `json:"warmup,omitempty" option:"WithWarmup"`
	ContextPolicy    *string  `json:"context_policy,omitempty" option:"WithContextPolicy"`
	KVBits           *int     `json:"kv_bits,omitempty" option:"WithKVBits"`
	KVGroupSize      *int     `json:"kv_group_size,omitempty" option:"WithKVBits"`
	MemoryLimit      *uint64  `json:"memory_limit,omitempty" option:"WithMemoryLimit"`
	PromptCacheLimit *uint64  `json:"prompt_cache_limit,omitempty" option:"WithPromptCacheLimit"`
	PrefillSeconds   *float64 `json:"prefill_seconds,omitempty" option:"WithPrefillSlice"`
	ComputeDtype     *string  `json:"compute_dtype,omitempty" option:"WithComputeDtype"`
}

// streamFields are the fields of every request that streams.
type streamFields struct {
	Window          *int     `json:"window,omitempty" option:"WithWindow"`
	DeadlineSeconds *float64 `json:"deadline_seconds,omitempty" option:"WithDeadline"`
}

// samplingFields say how tokens are chosen and when to stop.
type samplingFields struct {
	MaxTokens        *int               `json:"max_tokens,omitempty" option:"WithMaxTokens"`
	Temperature      *float64           `json:"temperature,omitempty" option:"WithTemperature"`
	TopK             *int               `json:"top_k,omitempty" option:"WithTopK"`
	TopP             *float64           `json:"top_p,omitempty" option:"WithTopP"`
	MinP             *float64           `json:"min_p,omitempty" option:"WithMinP"`
	RepeatPenalty    *float64           `json:"repeat_penalty,omitempty" option:"WithRepeatPenalty"`
	Seed             *uint32            `json:"seed,omitempty" option:"WithSeed"`
	Stop             []string           `json:"stop,omitempty" option:"WithStop"`
	StopTokens       []int              `json:"stop_tokens,omitempty" option:"WithStopTokens"`
	IgnoreEOS        *bool              `json:"ignore_eos,omitempty" option:"WithIgnoreEOS"`
	MinTokens        *int               `json:"min_tokens,omitempty" option:"WithMinTokens"`
	XTCProbability   *float64           `json:"xtc_probability,omitempty" option:"WithXTC"`
	XTCThreshold     *float64           `json:"xtc_threshold,omitempty" option:"WithXTC"`
	PresencePenalty  *float64           `json:"presence_penalty,omitempty" option:"WithPresencePenalty"`
	FrequencyPenalty *float64           `json:"frequency_penalty,omitempty" option:"WithFrequencyPenalty"`
	PenaltyWindow    *int               `json:"penalty_window,omitempty" option:"WithPenaltyWindow"`
	LogitBias        map[string]float64 `json:"logit_bias,omitempty" option:"WithLogitBias"`
	Logprobs         *bool              `json:"logprobs,omitempty" option:"WithLogprobs"`
	ResponseFormat   any                `json:"response_format,omitempty" option:"WithResponseFormat"`
	Adapter          *string            `json:"adapter,omitempty" option:"WithLoadedAdapter"`
	TopLogprobs      *int               `json:"top_logprobs,omitempty" option:"WithLogprobs"`
	Cache            *bool              `json:"cache,omitempty" option:"WithCache"`
	Thinking         any                `json:"thinking,omitempty" option:"WithThinking"`                     // chat and tokenize only
	Tools            []Tool             `json:"tools,omitempty" option:"WithTools"`                           // chat and tokenize only
	ToolChoice       *string            `json:"tool_choice,omitempty" option:"WithToolChoice"`                // chat only
	ParallelCalls    *bool              `json:"parallel_tool_calls,omitempty" option:"WithParallelToolCalls"` // chat only
	SpecialTokens    *bool              `json:"special_tokens,omitempty" option:"WithSpecialTokens"`          // chat and tokenize only
}

// scoringFields are the fields of classify alone.
type scoringFields struct {
	Separator *string  `json:"separator,omitempty" option:"WithSeparator"`
	Logits    *bool    `json:"logits,omitempty" option:"WithLogits"`
	Labels    []string `json:"labels,omitzero" option:"WithLabels"`
}

// embeddingFields are the fields of embed alone.
type embeddingFields struct {
	Dimensions *int    `json:"dimensions,omitempty" option:"WithDimensions"`
	Normalize  *bool   `json:"normalize,omitempty" option:"WithNormalize"`
	PromptName *string `json:"prompt_name,omitempty" option:"WithPromptName"`
	Pooling    *string `json:"pooling,omitempty" option:"WithPooling"`
}

// rankingFields are the fields of rerank; embed takes an instruction too.
type rankingFields struct {
	Instruction *string `json:"instruction,omitempty" option:"WithInstruction"`
	TopN        *int    `json:"top_n,omitempty" option:"WithTopN"`
}

// findingFields are the fields of discover alone.
type findingFields struct {
	HubCache *bool   `json:"hub_cache,omitempty" option:"WithHubCache"`
	Check    *string `json:"check,omitempty" option:"WithCheck"`
}

// tokenizingFields are the fields of tokenize alone.
type tokenizingFields struct {
	CountOnly *bool `json:"count_only,omitempty" option:"WithCountOnly"`
}

// requestFields are the options of all requests that take a RequestOption. An option that does not
// belong to a command is sent nevertheless: the worker refuses it by its name (SPEC §2).
type requestFields struct {
	streamFields
	samplingFields
	scoringFields
	embeddingFields
	rankingFields
	findingFields
	tokenizingFields
}

type generateFields struct {
	Prompt string `json:"prompt"`
	requestFields
}

type chatFields struct {
	Messages []Message `json:"messages"`
	requestFields
}

type batchFields struct {
	Prompts []string `json:"prompts"`
	Stream  *bool    `json:"stream,omitempty" option:"WithOnToken"`
	requestFields
}

// classifyFields have either Prompts or Messages.
type classifyFields struct {
	Prompts  []string    `json:"prompts,omitzero"`
	Messages [][]Message `json:"messages,omitzero"`
	requestFields
}

type renderFields struct {
	Messages []Message `json:"messages"`
	requestFields
}

type embedFields struct {
	Texts          []Text `json:"texts"`
	EncodingFormat string `json:"encoding_format,omitempty"`
	requestFields
}

type scoreFields struct {
	Texts []Text `json:"texts"`
	requestFields
}

type rerankFields struct {
	Query     string   `json:"query"`
	Documents []string `json:"documents"`
	requestFields
}

type discoverFields struct {
	Paths []string `json:"paths,omitempty"`
	requestFields
}

// repliesTo returns which replies a request with these fields may have.
func repliesTo(fields any) wire.Replies {
	switch fields := fields.(type) {
	case generateFields:
		return wire.Replies{Tokens: true}
	case chatFields:
		return wire.Replies{Tokens: true, ToolCalls: len(fields.Tools) > 0}
	case batchFields:
		return wire.Replies{Tokens: fields.Stream != nil && *fields.Stream, Prompts: len(fields.Prompts)}
	case classifyFields:
		return wire.Replies{Prompts: len(fields.Prompts) + len(fields.Messages)}
	case embedFields:
		return wire.Replies{Prompts: len(fields.Texts)}
	case scoreFields:
		return wire.Replies{Prompts: len(fields.Texts)}
	case discoverFields:
		return wire.Replies{Prompts: wire.AnyNumber}
	}
	return wire.Replies{}
}

// tokenizeFields have either Text or Messages.
type tokenizeFields struct {
	Text     *string   `json:"text,omitempty"`
	Messages []Message `json:"messages,omitzero"`
	requestFields
}

type detokenizeFields struct {
	IDs []int `json:"ids"`
}

type inspectFields struct {
	Prompt string `json:"prompt"`
	Path   string `json:"path"`
	Layers []int  `json:"layers,omitempty"`
}

// adapterFields have a Name to load or unload, and a Path to load.
type adapterFields struct {
	Action string  `json:"action,omitempty"`
	Name   *string `json:"name,omitempty"`
	Path   *string `json:"path,omitempty"`
}

type trainFields struct {
	Data string `json:"data"`
	Out  string `json:"out"`
	TrainOptions
}

type evaluateFields struct {
	Data string `json:"data"`
	EvaluateOptions
}

type cancelFields struct {
	Target *string `json:"target,omitempty" option:"id"`
}

type creditFields struct {
	Target string `json:"target"`
	N      int    `json:"n"`
}

type cacheFields struct {
	Action   string    `json:"action,omitempty"`
	Prompt   *string   `json:"prompt,omitempty"`
	Messages []Message `json:"messages,omitempty"`
	Tools    []Tool    `json:"tools,omitempty"`
	Adapter  *string   `json:"adapter,omitempty" option:"PromptCache.ForAdapter"`
	Path     *string   `json:"path,omitempty"`
}

type memoryFields struct {
	MemoryLimit      *uint64 `json:"memory_limit,omitempty" option:"MemoryLimits.Memory"`
	PromptCacheLimit *uint64 `json:"prompt_cache_limit,omitempty" option:"MemoryLimits.PromptCache"`
	BufferLimit      *uint64 `json:"buffer_limit,omitempty" option:"MemoryLimits.Buffer"`
	WiredLimit       *uint64 `json:"wired_limit,omitempty" option:"MemoryLimits.Wired"`
	Clear            *bool   `json:"clear,omitempty"`
}

// noFields are the fields of info, metrics, quit and unload, which have none.
type noFields struct{}
