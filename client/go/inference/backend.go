package inference

import (
	"context"
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
	// ModelType returns the architecture's name.
	ModelType() string
	// Info describes the model.
	Info() ModelInfo
	// Metrics returns the figures of the last operation.
	Metrics() GenerateMetrics
	// Err returns how the last stream ended: nil at the end of the text or at the token limit, or
	// the stream's error, which is the context's if the context ended the stream.
	//
	// Err belongs to the model and not to a stream: with streams in several goroutines it can't
	// say which of them failed. A failure stays until a stream succeeds that began after the
	// failure. So no failure is hidden by a stream that ran at the same time, but a caller whose
	// stream succeeded may see the error of another stream. ErrorStreamer has streams with errors
	// of their own.
	Err() error
	// Close frees everything that the model uses. A second call has no effect.
	Close() error
}

// A Backend loads models.
type Backend interface {
	Name() string
	LoadModel(path string, options ...LoadOption) (TextModel, error)
	// Available returns true if the backend can run on this machine.
	Available() bool
}

// preferred names the backends that Default looks for first.
var preferred = []string{"metal", "rocm", "llama_cpp"}

var registry struct {
	sync.RWMutex
	backends map[string]Backend
}

// Register makes a backend known by its name. It replaces an earlier backend of the same name.
func Register(backend Backend) {
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

// Default returns metal, rocm or llama_cpp if one of them is registered and available, and
// otherwise any backend that is available.
func Default() (Backend, error) {
	for _, name := range slices.Concat(preferred, List()) {
		if backend, ok := Get(name); ok && backend.Available() {
			return backend, nil
		}
	}
	return nil, fmt.Errorf("inference: no backend is available on this machine (registered: %s); install one or register another", known())
}

// LoadModel loads a model folder with the backend that WithBackend names, or with Default.
func LoadModel(path string, options ...LoadOption) (TextModel, error) {
	backend, err := choose(ApplyLoadOpts(options).Backend)
	if err != nil {
		return nil, err
	}
	return backend.LoadModel(path, options...)
}

func choose(name string) (Backend, error) {
	if name == "" {
		return Default()
	}
	backend, ok := Get(name)
	if !ok {
		return nil, fmt.Errorf("inference: backend %q is not registered; registered are: %s", name, known())
	}
	if !backend.Available() {
		return nil, fmt.Errorf("inference: backend %q is not available on this machine; install what it needs or name another", name)
	}
	return backend, nil
}

func known() string {
	if names := List(); len(names) > 0 {
		return strings.Join(names, ", ")
	}
	return "none"
}
