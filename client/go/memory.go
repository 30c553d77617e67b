package mlxwire

import "context"

// Memory is what a worker holds and what it may hold, in bytes. A limit of 0 is none, but for
// PromptCacheLimit, where it keeps nothing.
type Memory struct {
	ActiveBytes      uint64 `json:"active_bytes"`
	PeakBytes        uint64 `json:"peak_bytes"`
	BufferBytes      uint64 `json:"buffer_bytes"` // kept by MLX for reuse
	SequenceBytes    uint64 `json:"sequence_bytes"`
	PromptCacheBytes uint64 `json:"prompt_cache_bytes"`
	MemoryLimit      uint64 `json:"memory_limit"`
	PromptCacheLimit uint64 `json:"prompt_cache_limit"`
	BufferLimit      uint64 `json:"buffer_limit"`
	WiredLimit       uint64 `json:"wired_limit"`
	BytesPerToken    uint64 `json:"bytes_per_token"`
}

// MemoryLimits are limits to set, in bytes; nil leaves one as it is. A worker that was restarted
// has its defaults again: set them on EventReady.
type MemoryLimits struct {
	Memory      *uint64
	PromptCache *uint64
	Buffer      *uint64
	Wired       *uint64
}

// Memory tells the memory in use and the limits in force.
func (w *Worker) Memory(ctx context.Context) (Memory, error) {
	return ask[Memory](ctx, w, "memory", memoryFields{})
}

// SetMemory sets limits.
func (w *Worker) SetMemory(ctx context.Context, limits MemoryLimits) (Memory, error) {
	return ask[Memory](ctx, w, "memory", memoryFields{
		MemoryLimit: limits.Memory, PromptCacheLimit: limits.PromptCache,
		BufferLimit: limits.Buffer, WiredLimit: limits.Wired,
	})
}

// ClearMemory gives back the buffers that MLX keeps for reuse.
func (w *Worker) ClearMemory(ctx context.Context) (Memory, error) {
	on := true
	return ask[Memory](ctx, w, "memory", memoryFields{Clear: &on})
}
