package mlxwire

import "time"

// A LoadOption is an option of Load. The worker has a default for each option that is not given
// (SPEC §4.1).
type LoadOption func(*loadOptions)

type loadOptions struct {
	fields     loadFields
	onProgress func(Progress)
}

// WithContextLen bounds the tokens of prompt and answer together.
func WithContextLen(tokens int) LoadOption {
	return contextLen(tokens)
}

// WithLongestContext takes the most tokens that fit into memory, at most the model's own, for the sequences of
// WithParallelSlots, or for one. Loaded.ContextLen tells how many these are.
func WithLongestContext() LoadOption {
	return contextLen("auto")
}

func contextLen(length any) LoadOption {
	return func(o *loadOptions) { o.fields.ContextLen = &length }
}

// WithAdapter loads a LoRA adapter's folder with the model.
func WithAdapter(path string) LoadOption {
	return func(o *loadOptions) { o.fields.AdapterPath = &path }
}

// WithParallelSlots sets how many sequences the worker computes at the same time.
func WithParallelSlots(n int) LoadOption {
	return func(o *loadOptions) { o.fields.ParallelSlots = &n }
}

// WithWarmup chooses whether the worker compiles before Load returns, so that the first request is
// as fast as the second. The default is true.
func WithWarmup(on bool) LoadOption {
	return func(o *loadOptions) { o.fields.Warmup = &on }
}

// WithContextPolicy chooses what happens when the context is full: "refuse", the default, or
// "rotate", which forgets the oldest tokens.
func WithContextPolicy(policy string) LoadOption {
	return func(o *loadOptions) { o.fields.ContextPolicy = &policy }
}

// WithKVBits stores keys and values with 2, 3, 4, 6 or 8 bits, in groups of 32, 64 or 128.
func WithKVBits(bits, groupSize int) LoadOption {
	return func(o *loadOptions) { o.fields.KVBits, o.fields.KVGroupSize = &bits, &groupSize }
}

// WithMemoryLimit bounds the worker's memory, in bytes; 0 means no limit.
func WithMemoryLimit(bytes uint64) LoadOption {
	return func(o *loadOptions) { o.fields.MemoryLimit = &bytes }
}

// WithPromptCacheLimit bounds the prompt cache, in bytes; with 0 the cache keeps nothing.
func WithPromptCacheLimit(bytes uint64) LoadOption {
	return func(o *loadOptions) { o.fields.PromptCacheLimit = &bytes }
}

// WithPrefillSlice bounds how long the worker computes one slice of a prompt. Other streams, and a
// cancel, wait at most that long. The default is 100 ms.
func WithPrefillSlice(limit time.Duration) LoadOption {
	seconds := limit.Seconds()
	return func(o *loadOptions) { o.fields.PrefillSeconds = &seconds }
}

// WithComputeDtype chooses the dtype in which the model computes: "float32", "bfloat16", "float16",
// "stored" for that of the weights, or "auto", the default, which is float32 on a Linux CPU if the
// model then fits into the memory.
func WithComputeDtype(dtype string) LoadOption {
	return func(o *loadOptions) { o.fields.ComputeDtype = &dtype }
}

// WithLoadProgress calls tell with the progress of the load, from the goroutine that called Load.
// tell must not use the earlier Model, whose requests wait for the load.
func WithLoadProgress(tell func(Progress)) LoadOption {
	return func(o *loadOptions) { o.onProgress = tell }
}
