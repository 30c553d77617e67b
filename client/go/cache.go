package mlxwire

import (
	"context"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// A PromptCache keeps what earlier prompts of a model computed, so that later prompts with the same
// beginning can reuse it. Each method returns the cache's state after the action.
type PromptCache struct {
	model   *Model
	adapter *string
}

// CacheStats is the state of a prompt cache. Its counts start when the model is loaded.
type CacheStats struct {
	Entries      int    `json:"entries"`
	CachedBytes  uint64 `json:"cached_bytes"`
	LimitBytes   uint64 `json:"limit_bytes"`
	Hits         int    `json:"hits"`
	Misses       int    `json:"misses"`
	ReusedTokens int    `json:"reused_tokens"`
	Evictions    int    `json:"evictions"`
	Rejected     int    `json:"rejected"`
	// Affected is how many entries the action dropped, saved or loaded, or how many tokens it warmed.
	Affected int `json:"affected"`
}

// ForAdapter returns the same cache, whose Warm and WarmChat compute for requests with
// WithLoadedAdapter(name).
func (c *PromptCache) ForAdapter(name string) *PromptCache {
	return &PromptCache{model: c.model, adapter: &name}
}

// Stats returns the cache's state.
func (c *PromptCache) Stats(ctx context.Context) (CacheStats, error) {
	return c.act(ctx, cacheFields{Action: "stats"})
}

// Clear drops all entries.
func (c *PromptCache) Clear(ctx context.Context) (CacheStats, error) {
	return c.act(ctx, cacheFields{Action: "clear"})
}

// Warm computes a raw prompt in advance, for later calls of Generate.
func (c *PromptCache) Warm(ctx context.Context, prompt string) (CacheStats, error) {
	return c.act(ctx, cacheFields{Action: "warm", Prompt: &prompt, Adapter: c.adapter})
}

// WarmChat computes a conversation in advance, for later calls of Chat with the same tools.
func (c *PromptCache) WarmChat(ctx context.Context, messages []Message, tools ...Tool) (CacheStats, error) {
	return c.act(ctx, cacheFields{Action: "warm", Messages: messages, Tools: tools, Adapter: c.adapter})
}

// Save writes the cache to a file. The worker's --data-root may restrict the path.
func (c *PromptCache) Save(ctx context.Context, path string) (CacheStats, error) {
	return c.act(ctx, cacheFields{Action: "save", Path: &path})
}

// Load reads a file that Save wrote for the same model, adapter and KV configuration.
func (c *PromptCache) Load(ctx context.Context, path string) (CacheStats, error) {
	return c.act(ctx, cacheFields{Action: "load", Path: &path})
}

func (c *PromptCache) act(ctx context.Context, fields cacheFields) (CacheStats, error) {
	return askModel[CacheStats](ctx, c.model, wire.Cache, fields)
}
