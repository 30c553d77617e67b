//go:build !nomlxlm

package inference

import (
	"context"
	"slices"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// This file holds the optional interfaces that a workerModel implements beside ErrorStreamer.

// CancelRequest implements RequestCanceller.
func (m *workerModel) CancelRequest(id string) bool { return m.inFlight.cancel(id) }

// Warnings implements WarningReporter.
func (m *workerModel) Warnings() []string { return slices.Clone(m.warnings) }

// Capabilities implements CapabilityReporter. It merges the capabilities of the worker and of its model.
func (m *workerModel) Capabilities() Capabilities {
	all := make(Capabilities)
	for name, value := range m.worker.Capabilities() {
		all[name] = value
	}
	for name, value := range m.model.Loaded().Capabilities {
		all[name] = value
	}
	return all
}

// PromptCache implements PromptCacher.
func (m *workerModel) PromptCache() PromptCache { return promptCache{m.model.Cache()} }

// promptCache is the worker's cache with the types of this package.
type promptCache struct{ cache *mlxwire.PromptCache }

func (c promptCache) Stats(ctx context.Context) (CacheStats, error) {
	return plainStats(c.cache.Stats(ctx))
}

func (c promptCache) Clear(ctx context.Context) (CacheStats, error) {
	return plainStats(c.cache.Clear(ctx))
}

func (c promptCache) Warm(ctx context.Context, prompt string) (CacheStats, error) {
	return plainStats(c.cache.Warm(ctx, prompt))
}

func (c promptCache) WarmChat(ctx context.Context, messages []Message) (CacheStats, error) {
	return plainStats(c.cache.WarmChat(ctx, toTurns(messages)))
}

func (c promptCache) Save(ctx context.Context, path string) (CacheStats, error) {
	return plainStats(c.cache.Save(ctx, path))
}

func (c promptCache) Load(ctx context.Context, path string) (CacheStats, error) {
	return plainStats(c.cache.Load(ctx, path))
}

func plainStats(stats mlxwire.CacheStats, err error) (CacheStats, error) {
	return CacheStats(stats), err
}

// LoadAdapter implements AdapterLoader.
func (m *workerModel) LoadAdapter(ctx context.Context, name, path string) error {
	_, err := m.model.LoadAdapter(ctx, name, path)
	return err
}

// UnloadAdapter implements AdapterLoader.
func (m *workerModel) UnloadAdapter(ctx context.Context, name string) error {
	_, err := m.model.UnloadAdapter(ctx, name)
	return err
}

// Adapters implements AdapterLoader.
func (m *workerModel) Adapters(ctx context.Context) ([]string, error) {
	adapters, err := m.model.Adapters(ctx)
	names := make([]string, len(adapters))
	for i, adapter := range adapters {
		names[i] = adapter.Name
	}
	return names, err
}

// Memory implements MemoryLimiter.
func (m *workerModel) Memory(ctx context.Context) (Memory, error) {
	memory, err := m.worker.Memory(ctx)
	return Memory(memory), err
}

// SetMemory implements MemoryLimiter.
func (m *workerModel) SetMemory(ctx context.Context, limits MemoryLimits) (Memory, error) {
	memory, err := m.worker.SetMemory(ctx, mlxwire.MemoryLimits(limits))
	return Memory(memory), err
}
