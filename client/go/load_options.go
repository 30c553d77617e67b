package mlxwire

import "time"

// A LoadOption is an option of Load. Without it the worker's default holds (SPEC §4.1).
type LoadOption func(*loadOptions)

type loadOptions struct {
	fields     loadFields
	onProgress func(Progress)
}

// WithContextLen bounds the tokens of prompt and answer together.
func WithContextLen(tokens int) LoadOption {
	return func(o *loadOptions) { o.fields.ContextLen = &tokens }
}

// WithAdapter loads a LoRA adapter's folder with the model.
func WithAdapter(path string) LoadOption {
	return func(o *loadOptions) { o.fields.AdapterPath = &path }
}

// WithParallelSlots says how many sequences are computed at once.
func WithParallelSlots(n int) LoadOption {
	return func(o *loadOptions) { o.fields.ParallelSlots = &n }
}

// WithWarmup says whether to compile before Load returns, so that the first request is as fast
// as the second. The default is true.
func WithWarmup(on bool) LoadOption {
	return func(o *loadOptions) { o.fields.Warmup = &on }
}

// WithContextPolicy is "refuse", the default, or "rotate": past the context the oldest tokens
// are forgotten instead.
func WithContextPolicy(policy string) LoadOption {
	return func(o *loadOptions) { o.fields.ContextPolicy = &policy }
}

// WithKVBits keeps keys and values in 2, 3, 4, 6 or 8 bits, in groups of 32, 64 or 128.
func WithKVBits(bits, groupSize int) LoadOption {
	return func(o *loadOptions) { o.fields.KVBits, o.fields.KVGroupSize = &bits, &groupSize }
}

// WithMemoryLimit bounds the memory of the worker, in bytes; 0 is no limit.
func WithMemoryLimit(bytes uint64) LoadOption {
	return func(o *loadOptions) { o.fields.MemoryLimit = &bytes }
}

// WithPromptCacheLimit bounds the prompt cache, in bytes; 0 keeps nothing.
func WithPromptCacheLimit(bytes uint64) LoadOption {
	return func(o *loadOptions) { o.fields.PromptCacheLimit = &bytes }
}

// WithPrefillSlice bounds how long one slice of a prompt may take, which is how long the
// streams beside it, or a cancel, may wait. The default is 100 ms.
func WithPrefillSlice(limit time.Duration) LoadOption {
	seconds := limit.Seconds()
	return func(o *loadOptions) { o.fields.PrefillSeconds = &seconds }
}

// WithLoadProgress is told how the load comes on, by the goroutine that called Load. It must not
// use the model of before: that one waits for the load.
func WithLoadProgress(tell func(Progress)) LoadOption {
	return func(o *loadOptions) { o.onProgress = tell }
}
