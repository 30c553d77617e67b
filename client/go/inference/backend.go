package inference

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
)

// A TextModel is a loaded model. Many goroutines may call it at once.
type TextModel interface {
	// Generate continues a raw prompt. Breaking out of the range cancels the request. After the
	// range, Err says how the stream ended. Hosts that run several streams at once should use
	// ErrorStreamer instead.
	Generate(ctx context.Context, prompt string, options ...GenerateOption) iter.Seq[Token]
	// Chat answers a conversation with the model's own template. It is used like Generate.
	Chat(ctx context.Context, messages []Message, options ...GenerateOption) iter.Seq[Token]
	// Classify runs each prompt once. The results have the order of the prompts.
	Classify(ctx context.Context, prompts []string, options ...GenerateOption) ([]ClassifyResult, error)
	// BatchGenerate continues many raw prompts. The results have the order of the prompts.
	BatchGenerate(ctx context.Context, prompts []string, options ...GenerateOption) ([]BatchResult, error)
	// ModelType returns the name of the architecture's family. A model whose config.json names only
	// the part for text, such as gemma3_text, has the name of the whole, gemma3.
	ModelType() string
	// Info describes the model.
	Info() ModelInfo
	// Metrics returns the figures of the last operation that ended; they are 0 if it failed. After a
	// stream was left early, Metrics waits a short time until the worker has ended the request.
	// WithMetricsSink tells the figures of one request.
	Metrics() GenerateMetrics
	// Err returns how the last stream ended: nil at the end of the text or at the token limit, or
	// the stream's error. That is the context's error if the context ended the stream, and an error
	// with the code context_overflow if the text was cut because the context was full.
	//
	// Err answers the calling goroutine for its own streams, those that it made or read. So streams
	// that run at the same time in several goroutines do not disturb each other. A failure stays
	// until a stream of that goroutine succeeds that began after the failure.
	//
	// A goroutine that has made and read no stream of this model, and one whose streams were long
	// ago (more than 512 other goroutines have had streams since), gets the last failure of any
	// stream, until one succeeds that began after it. ErrorStreamer has streams with errors of their
	// own, which is better for hosts that run several streams at once.
	Err() error
	// Close frees everything that the model uses. A second call has no effect.
	Close() error
}

// A Backend loads models. A ContextLoader can be interrupted while it does.
type Backend interface {
	Name() string
	LoadModel(path string, options ...LoadOption) (TextModel, error)
	// Available returns true if the backend can run on this machine.
	Available() bool
}

// A ContextLoader is a Backend whose loads end when their context ends.
type ContextLoader interface {
	Backend
	LoadModelContext(ctx context.Context, path string, options ...LoadOption) (TextModel, error)
}

// A ModelFinder is a Backend that also finds models where Discover does not look.
type ModelFinder interface {
	Backend
	// FindModels gives each model below the folders, at any depth, or without a folder those in a hub's
	// local cache. A model that can't be loaded comes with its Path and the error that a load would give, and the others
	// follow; any other error comes last, without a Path.
	FindModels(ctx context.Context, dirs ...string) iter.Seq2[DiscoveredModel, error]
}

// preferred names the backends that Default looks for first.
var preferred = []string{"metal", "rocm", "llama_cpp", "mlx_lm"}

var registry struct {
	sync.RWMutex
	backends map[string]Backend
}

// Register makes a backend known by its name. It replaces an earlier backend of the same name.
// Register panics if the backend is nil or has no name, because it is called before main.
func Register(backend Backend) {
	if backend == nil || backend.Name() == "" {
		panic("inference: Register needs a backend with a name")
	}
	registry.Lock()
	defer registry.Unlock()
	if registry.backends == nil {
		registry.backends = make(map[string]Backend)
	}
	registry.backends[backend.Name()] = backend
}

// Get returns the backend of a name.
func Get(name string) (Backend, bool) {
	registry.RLock()
	defer registry.RUnlock()
	backend, ok := registry.backends[name]
	return backend, ok
}

// List returns the names of all backends, sorted.
func List() []string {
	registry.RLock()
	defer registry.RUnlock()
	names := make([]string, 0, len(registry.backends))
	for name := range registry.backends {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// All gives each backend with its name, sorted by name.
func All() iter.Seq2[string, Backend] {
	return func(yield func(string, Backend) bool) {
		for _, name := range List() {
			if backend, ok := Get(name); ok && !yield(name, backend) {
				return
			}
		}
	}
}

// Default returns metal, rocm, llama_cpp or mlx_lm, the first that is registered and available, and
// otherwise any backend that is available.
func Default() (Backend, error) {
	for _, name := range slices.Concat(preferred, List()) {
		if backend, ok := Get(name); ok && backend.Available() {
			return backend, nil
		}
	}
	names := List()
	if len(names) == 0 {
		return nil, errors.New("inference: no backends registered; import a package that registers one")
	}
	return nil, fmt.Errorf("inference: no backends registered that can run here: %s not available on this machine; "+
		"install what one of them needs, or register another", strings.Join(names, ", "))
}

// LoadModel loads a model folder with the backend that WithBackend names, or with Default.
func LoadModel(path string, options ...LoadOption) (TextModel, error) {
	return LoadModelContext(context.Background(), path, options...)
}

// LoadModelContext loads a model folder like LoadModel, and returns the context's error as soon as the
// context ends. A backend that is not a ContextLoader goes on in the background; its model is closed
// when it comes.
func LoadModelContext(ctx context.Context, path string, options ...LoadOption) (TextModel, error) {
	switch {
	case ctx == nil:
		return nil, errNilContext
	case path == "":
		return nil, errNoPath
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	backend, err := choose(ApplyLoadOpts(options).Backend)
	if err != nil {
		return nil, err
	}
	if loader, ok := backend.(ContextLoader); ok {
		return loader.LoadModelContext(ctx, path, options...)
	}
	return loadBeside(ctx, backend, path, options)
}

// loadBeside loads with a backend that can't be interrupted.
func loadBeside(ctx context.Context, backend Backend, path string, options []LoadOption) (TextModel, error) {
	type outcome struct {
		model TextModel
		err   error
	}
	loaded := make(chan outcome, 1)
	go func() {
		model, err := backend.LoadModel(path, options...)
		loaded <- outcome{model, err}
	}()
	select {
	case result := <-loaded:
		return result.model, result.err
	case <-ctx.Done():
		go func() {
			if result := <-loaded; result.model != nil {
				_ = result.model.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

func choose(name string) (Backend, error) {
	if name == "" {
		return Default()
	}
	backend, ok := Get(name)
	if !ok {
		return nil, fmt.Errorf("inference: backend %q not registered; registered are: %s", name, known())
	}
	if !backend.Available() {
		return nil, fmt.Errorf("inference: backend %q not available on this machine; install what it needs or name another", name)
	}
	return backend, nil
}

func known() string {
	if names := List(); len(names) > 0 {
		return strings.Join(names, ", ")
	}
	return "none"
}

var (
	errNilContext = errors.New("inference: the context is nil; pass context.Background() if nothing bounds the call")
	errNoPath     = errors.New("inference: the path of the model is empty; give the model's folder")
)
