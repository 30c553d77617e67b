package mlxwire

// This file holds the requests as the wire spells them (SPEC §4). An optional field is a pointer, a
// slice or a map; it is sent only if it was set, so that the worker's default holds otherwise. A
// test compares the names with protocol/schema.

// A Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// UserTurn returns a conversation of one turn, the user's.
func UserTurn(content string) []Message {
	return []Message{{Role: "user", Content: content}}
}

type helloFields struct {
	Protocols []int      `json:"protocols"`
	Client    clientInfo `json:"client,omitzero"`
	Require   []string   `json:"require,omitempty"`
	Events    []string   `json:"events,omitempty"`
}

type clientInfo struct {
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
}

type loadFields struct {
	Path             string   `json:"path"`
	ContextLen       *int     `json:"context_len,omitempty"`
	AdapterPath      *string  `json:"adapter_path,omitempty"`
	ParallelSlots    *int     `json:"parallel_slots,omitempty"`
	Warmup           *bool    `json:"warmup,omitempty"`
	ContextPolicy    *string  `json:"context_policy,omitempty"`
	KVBits           *int     `json:"kv_bits,omitempty"`
	KVGroupSize      *int     `json:"kv_group_size,omitempty"`
	MemoryLimit      *uint64  `json:"memory_limit,omitempty"`
	PromptCacheLimit *uint64  `json:"prompt_cache_limit,omitempty"`
	PrefillSeconds   *float64 `json:"prefill_seconds,omitempty"`
	ComputeDtype     *string  `json:"compute_dtype,omitempty"`
}

// streamFields are the fields of every request that streams.
type streamFields struct {
	Window          *int     `json:"window,omitempty"`
	DeadlineSeconds *float64 `json:"deadline_seconds,omitempty"`
}

// samplingFields say how tokens are chosen and when to stop.
type samplingFields struct {
	MaxTokens        *int               `json:"max_tokens,omitempty"`
	Temperature      *float64           `json:"temperature,omitempty"`
	TopK             *int               `json:"top_k,omitempty"`
	TopP             *float64           `json:"top_p,omitempty"`
	MinP             *float64           `json:"min_p,omitempty"`
	RepeatPenalty    *float64           `json:"repeat_penalty,omitempty"`
	Seed             *uint32            `json:"seed,omitempty"`
	Stop             []string           `json:"stop,omitempty"`
	StopTokens       []int              `json:"stop_tokens,omitempty"`
	IgnoreEOS        *bool              `json:"ignore_eos,omitempty"`
	MinTokens        *int               `json:"min_tokens,omitempty"`
	XTCProbability   *float64           `json:"xtc_probability,omitempty"`
	XTCThreshold     *float64           `json:"xtc_threshold,omitempty"`
	PresencePenalty  *float64           `json:"presence_penalty,omitempty"`
	FrequencyPenalty *float64           `json:"frequency_penalty,omitempty"`
	PenaltyWindow    *int               `json:"penalty_window,omitempty"`
	LogitBias        map[string]float64 `json:"logit_bias,omitempty"`
	Logprobs         *bool              `json:"logprobs,omitempty"`
	TopLogprobs      *int               `json:"top_logprobs,omitempty"`
	Cache            *bool              `json:"cache,omitempty"`
	Thinking         *bool              `json:"thinking,omitempty"`       // chat and tokenize only
	SpecialTokens    *bool              `json:"special_tokens,omitempty"` // chat and tokenize only
}

// scoringFields are the fields of classify alone.
type scoringFields struct {
	Logits *bool    `json:"logits,omitempty"`
	Labels []string `json:"labels,omitzero"`
}

// tokenizingFields are the fields of tokenize alone.
type tokenizingFields struct {
	CountOnly *bool `json:"count_only,omitempty"`
}

// requestFields are the options of all requests that take a RequestOption. An option that does not
// belong to a command is sent nevertheless: the worker refuses it by its name (SPEC §2).
type requestFields struct {
	streamFields
	samplingFields
	scoringFields
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
	Stream  *bool    `json:"stream,omitempty"`
	requestFields
}

type classifyFields struct {
	Prompts []string `json:"prompts"`
	requestFields
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

type cancelFields struct {
	Target *string `json:"target,omitempty"`
}

type creditFields struct {
	Target string `json:"target"`
	N      int    `json:"n"`
}

type cacheFields struct {
	Action   string    `json:"action,omitempty"`
	Prompt   *string   `json:"prompt,omitempty"`
	Messages []Message `json:"messages,omitempty"`
	Path     *string   `json:"path,omitempty"`
}

type memoryFields struct {
	MemoryLimit      *uint64 `json:"memory_limit,omitempty"`
	PromptCacheLimit *uint64 `json:"prompt_cache_limit,omitempty"`
	BufferLimit      *uint64 `json:"buffer_limit,omitempty"`
	WiredLimit       *uint64 `json:"wired_limit,omitempty"`
	Clear            *bool   `json:"clear,omitempty"`
}

// noFields are the fields of info, metrics, quit and unload, which have none.
type noFields struct{}
