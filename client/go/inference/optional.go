package inference

import (
	"context"
	"iter"
)

// A model may implement these interfaces in addition to TextModel. Ask with a type assertion:
//
//	if cache, ok := model.(inference.PromptCacher); ok { … }

// An ErrorStreamer has streams with errors of their own, for hosts that run several streams at once.
// The error comes last, without a token. A stream without an error reached the end of the text or
// its limit. TextModel.Err does not report these errors.
type ErrorStreamer interface {
	GenerateWithErr(ctx context.Context, prompt string, options ...GenerateOption) iter.Seq2[Token, error]
	ChatWithErr(ctx context.Context, messages []Message, options ...GenerateOption) iter.Seq2[Token, error]
}

// A RequestCanceller cancels a request from anywhere. The request's stream ends with an error that
// matches context.Canceled, and that differs from the error of its own context.
type RequestCanceller interface {
	// CancelRequest cancels the requests that have an id from ContextWithRequestID. It returns
	// false if none is in flight.
	CancelRequest(id string) bool
}

// A WarningReporter lists what its load could not do as asked, in sentences for people.
type WarningReporter interface {
	Warnings() []string
}

// A CapabilityReporter lists what it can do, with the names of the protocol.
type CapabilityReporter interface {
	Capabilities() Capabilities
}

// Capabilities names what a model and its backend can do.
type Capabilities map[string]any

// Has returns true if the capability is listed with a value other than false, null and 0.
func (c Capabilities) Has(name string) bool {
	value, listed := c[name]
	return listed && value != nil && value != false && value != 0.0
}

// A PromptCacher has a prompt cache that the host can inspect, fill and save.
type PromptCacher interface {
	PromptCache() PromptCache
}

// A PromptCache keeps what earlier prompts computed, so that later prompts with the same beginning can
// reuse it. Each method returns the cache's state after the action.
type PromptCache interface {
	// Stats changes nothing.
	Stats(ctx context.Context) (CacheStats, error)
	// Clear drops all entries.
	Clear(ctx context.Context) (CacheStats, error)
	// Warm computes a raw prompt in advance.
	Warm(ctx context.Context, prompt string) (CacheStats, error)
	// WarmChat computes a conversation in advance.
	WarmChat(ctx context.Context, messages []Message) (CacheStats, error)
	// Save writes the cache to a file.
	Save(ctx context.Context, path string) (CacheStats, error)
	// Load reads a file that Save wrote for the same model.
	Load(ctx context.Context, path string) (CacheStats, error)
}

// CacheStats is the state of a prompt cache. Its counts start when the model is loaded.
type CacheStats struct {
	Entries      int
	CachedBytes  uint64
	LimitBytes   uint64
	Hits         int
	Misses       int
	ReusedTokens int
	Evictions    int
	Rejected     int
	// Affected is how many entries the action dropped, saved or loaded, or how many tokens it warmed.
	Affected int
}

// An AdapterLoader loads adapters beside its model, under names for WithLoadedAdapter.
type AdapterLoader interface {
	// LoadAdapter loads the adapter in a folder. A name in use is given to it.
	LoadAdapter(ctx context.Context, name, path string) error
	// UnloadAdapter unloads an adapter. Requests in flight go on with it.
	UnloadAdapter(ctx context.Context, name string) error
	// Adapters returns the names that are loaded.
	Adapters(ctx context.Context) ([]string, error)
}

// A MemoryLimiter reports its memory and accepts limits.
type MemoryLimiter interface {
	Memory(ctx context.Context) (Memory, error)
	SetMemory(ctx context.Context, limits MemoryLimits) (Memory, error)
}

// Memory is the memory in use, and its limits, in bytes. A limit of 0 means no limit, except for
// PromptCacheLimit, where the cache then keeps nothing.
type Memory struct {
	ActiveBytes      uint64
	PeakBytes        uint64
	BufferBytes      uint64 // buffers that are kept for reuse
	SequenceBytes    uint64
	PromptCacheBytes uint64
	MemoryLimit      uint64
	PromptCacheLimit uint64
	BufferLimit      uint64
	WiredLimit       uint64
	BytesPerToken    uint64
}

// MemoryLimits are limits to set, in bytes. A nil limit stays as it is.
type MemoryLimits struct {
	Memory      *uint64
	PromptCache *uint64
	Buffer      *uint64
	Wired       *uint64
}

type requestIDKey struct{}

// ContextWithRequestID returns a context that gives its requests an id, for CancelRequest.
func ContextWithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}
