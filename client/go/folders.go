package mlxwire

import (
	"context"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// A FoundModel is a model on disk, as its files describe it. Path is absolute, and Load takes it. The
// fields that ModelInfo has too mean the same.
type FoundModel struct {
	Index        int              `json:"index"`
	Path         string           `json:"path"`
	Name         string           `json:"name"` // of the repository in the hub's cache, else of the folder
	ModelType    string           `json:"model_type"`
	Architecture *string          `json:"architecture"` // the class that config.json names
	VocabSize    int              `json:"vocab_size"`
	Layers       int              `json:"layers"`
	HiddenSize   int              `json:"hidden_size"`
	ContextLen   int              `json:"context_len"`
	QuantBits    int              `json:"quant_bits"`
	QuantGroup   int              `json:"quant_group"`
	QuantMode    string           `json:"quant_mode"`
	Parameters   int64            `json:"parameters"`
	WeightBytes  uint64           `json:"weight_bytes"`
	ChatTemplate bool             `json:"chat_template"`
	Capabilities Capabilities     `json:"capabilities"`
	ComputeDtype string           `json:"compute_dtype"` // what "auto" chooses here
	DtypeBytes   map[string]int64 `json:"dtype_bytes"`   // of the weights, by compute dtype
	Pooling      *string          `json:"pooling"`       // nil if the model makes no embeddings
	Repository   *string          `json:"repository"`    // nil outside the hub's cache
	Revision     *string          `json:"revision"`
	Adapters     []FoundAdapter   `json:"adapters"` // in folders beside or below it
	// Err says why Load would refuse the folder; all but Index, Path and Name is empty then.
	Err error `json:"-"`
}

// A FoundAdapter is an adapter's folder. Format is "mlx" or "peft".
type FoundAdapter struct {
	Path   string `json:"path"`
	Format string `json:"format"`
}

// Discover returns the models below the given folders, and in the hub's local cache if WithHubCache asks
// for it or no folder is given. No model is loaded for it. A broken one has an Err. Relative paths begin in the worker's
// folder. If the request fails, Discover returns the models that had arrived, and the error. It takes
// WithHubCache, WithCheck and WithDeadline.
func (w *Worker) Discover(ctx context.Context, paths []string, options ...RequestOption) ([]FoundModel, error) {
	stream, err := w.DiscoverStream(ctx, paths, options...)
	return inOrder(stream, err, func(m FoundModel) int { return m.Index })
}

// DiscoverStream finds models, like Discover, and gives each as its folder is read.
func (w *Worker) DiscoverStream(ctx context.Context, paths []string, options ...RequestOption) (*DiscoverStream, error) {
	o := applyRequestOptions(options)
	if err := o.check(wire.Discover); err != nil {
		return nil, err
	}
	c, err := w.supervisor.connection(ctx)
	if err != nil {
		return nil, err
	}
	o.setWindow(c)
	fields := discoverFields{Paths: paths, requestFields: o.fields}
	return openItems(ctx, c, wire.Discover, o, fields, nil, readFound, "", 0)
}

// brokenModel holds the names of a folder that Load would refuse.
type brokenModel struct {
	Path string `json:"path"`
	Name string `json:"name"`
}

func readFound(r *request, line []byte) (FoundModel, error) {
	model, err := orFailed(func(index int, failure error) FoundModel {
		return FoundModel{Index: index, Err: failure}
	})(r, line)
	if err != nil || model.Err == nil {
		return model, err
	}
	names, err := readItem[brokenModel](r, line)
	model.Path, model.Name = names.Path, names.Name
	return model, err
}

// FitResult predicts the memory that a model needs, and what there is, in bytes. ContextLen,
// ParallelSlots, ComputeDtype and KVBits (0: not quantized) are those that the figures are for.
type FitResult struct {
	Path          string `json:"path"`
	ModelType     string `json:"model_type"`
	ComputeDtype  string `json:"compute_dtype"`
	KVBits        int    `json:"kv_bits"`
	ContextLen    int    `json:"context_len"`
	ParallelSlots int    `json:"parallel_slots"`
	WeightBytes   uint64 `json:"weight_bytes"`
	BytesPerToken uint64 `json:"bytes_per_token"` // of the cache
	SequenceBytes uint64 `json:"sequence_bytes"`  // of a sequence, whatever its length
	CacheBytes    uint64 `json:"cache_bytes"`     // of all slots at the full context
	ScratchBytes  uint64 `json:"scratch_bytes"`   // of the intermediate results of a pass
	TotalBytes    uint64 `json:"total_bytes"`     // the peak of all
	// AvailableBytes is what the process may use.
	AvailableBytes uint64 `json:"available_bytes"`
	Fits           bool   `json:"fits"`
	MaxContextLen  int    `json:"max_context_len"` // the longest context that fits, 0 if none does
}

// Fit predicts the memory that the model in a folder needs, without loading it. It takes WithContextLen,
// WithLongestContext, WithParallelSlots, WithKVBits, WithMemoryLimit and WithComputeDtype; the other options
// of Load are refused.
func (w *Worker) Fit(ctx context.Context, path string, options ...LoadOption) (FitResult, error) {
	settings, err := fitSettings(options)
	if err != nil {
		return FitResult{}, err
	}
	return ask[FitResult](ctx, w, wire.Fit, fitFields{Path: &path, loadSettings: settings})
}

// Fit predicts the memory that the loaded model needs, like Worker.Fit. An option that is left out is that
// of its load.
func (m *Model) Fit(ctx context.Context, options ...LoadOption) (FitResult, error) {
	settings, err := fitSettings(options)
	if err != nil {
		return FitResult{}, err
	}
	return askModel[FitResult](ctx, m, wire.Fit, fitFields{loadSettings: settings})
}

func fitSettings(options []LoadOption) (loadSettings, error) {
	o := new(loadOptions)
	if err := applyOptions("Fit", o, options); err != nil {
		return loadSettings{}, err
	}
	if o.onProgress != nil {
		return loadSettings{}, invalidParams("progress", "WithLoadProgress is an option of Load and not of Fit, which reports no progress; leave it out")
	}
	return o.fields.loadSettings, nil
}
