package mlxwire

import (
	"cmp"
	"context"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// Memory is the memory that a worker uses, and its limits, in bytes. A limit of 0 means no limit, except
// for PromptCacheLimit, where the cache then keeps nothing.
type Memory struct {
	ActiveBytes      uint64 `json:"active_bytes"`
	PeakBytes        uint64 `json:"peak_bytes"`
	BufferBytes      uint64 `json:"buffer_bytes"` // buffers that MLX keeps for reuse
	SequenceBytes    uint64 `json:"sequence_bytes"`
	PromptCacheBytes uint64 `json:"prompt_cache_bytes"`
	MemoryLimit      uint64 `json:"memory_limit"`
	PromptCacheLimit uint64 `json:"prompt_cache_limit"`
	BufferLimit      uint64 `json:"buffer_limit"`
	WiredLimit       uint64 `json:"wired_limit"`
	BytesPerToken    uint64 `json:"bytes_per_token"`
}

// MemoryLimits are limits to set, in bytes. A nil limit stays as it is.
type MemoryLimits struct {
	Memory      *uint64
	PromptCache *uint64
	Buffer      *uint64
	Wired       *uint64
}

// Memory returns the memory in use and the limits in force.
func (w *Worker) Memory(ctx context.Context) (Memory, error) {
	return ask[Memory](ctx, w, wire.Memory, memoryFields{})
}

// SetMemory sets limits. A worker that is restarted has them again. Memory and PromptCache belong to
// the loaded model and end with it.
func (w *Worker) SetMemory(ctx context.Context, limits MemoryLimits) (Memory, error) {
	memory, err := ask[Memory](ctx, w, wire.Memory, limits.fields())
	if err == nil {
		w.mu.Lock()
		w.limits = w.limits.with(limits)
		w.mu.Unlock()
	}
	return memory, err
}

// ClearMemory frees the buffers that MLX keeps for reuse.
func (w *Worker) ClearMemory(ctx context.Context) (Memory, error) {
	on := true
	return ask[Memory](ctx, w, wire.Memory, memoryFields{Clear: &on})
}

func (l MemoryLimits) fields() memoryFields {
	return memoryFields{
		MemoryLimit: l.Memory, PromptCacheLimit: l.PromptCache, BufferLimit: l.Buffer, WiredLimit: l.Wired,
	}
}

// with returns l with the later limits in the place of its own, if they are set.
func (l MemoryLimits) with(later MemoryLimits) MemoryLimits {
	return MemoryLimits{
		Memory: cmp.Or(later.Memory, l.Memory), PromptCache: cmp.Or(later.PromptCache, l.PromptCache),
		Buffer: cmp.Or(later.Buffer, l.Buffer), Wired: cmp.Or(later.Wired, l.Wired),
	}
}

// ofProcess returns the limits that outlive a load. Each load sets the others anew.
func (l MemoryLimits) ofProcess() MemoryLimits {
	return MemoryLimits{Buffer: l.Buffer, Wired: l.Wired}
}
