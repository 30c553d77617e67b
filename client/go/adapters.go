package mlxwire

import (
	"context"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// AdapterInfo describes an adapter that requests may name with WithLoadedAdapter. Rank and Scale are the
// largest of its modules.
type AdapterInfo struct {
	Name       string  `json:"name"`
	Path       string  `json:"path"`
	Format     string  `json:"format"` // "mlx" or "peft"
	Method     string  `json:"method"` // "lora" or "dora"
	Rank       int     `json:"rank"`
	Scale      float64 `json:"scale"`
	Modules    int     `json:"modules"` // how many modules of the model it changes
	Parameters int64   `json:"parameters"`
	Bytes      int64   `json:"bytes"` // in memory
}

type adapterResult struct {
	Adapters []AdapterInfo `json:"adapters"`
}

// LoadAdapter loads the adapter in a folder, of mlx-lm's format or PEFT's, and returns all adapters that
// are loaded then. A name in use is given to this adapter; requests in flight go on with the old one. A
// process that WithRestart starts has none.
func (m *Model) LoadAdapter(ctx context.Context, name, path string) ([]AdapterInfo, error) {
	return m.adapters(ctx, adapterFields{Action: "load", Name: &name, Path: &path})
}

// UnloadAdapter unloads an adapter, and returns those that are left. Requests in flight go on with it.
func (m *Model) UnloadAdapter(ctx context.Context, name string) ([]AdapterInfo, error) {
	return m.adapters(ctx, adapterFields{Action: "unload", Name: &name})
}

// Adapters returns the adapters that requests may name.
func (m *Model) Adapters(ctx context.Context) ([]AdapterInfo, error) {
	return m.adapters(ctx, adapterFields{Action: "list"})
}

func (m *Model) adapters(ctx context.Context, fields adapterFields) ([]AdapterInfo, error) {
	reply, err := askModel[adapterResult](ctx, m, wire.Adapter, fields)
	return reply.Adapters, err
}
