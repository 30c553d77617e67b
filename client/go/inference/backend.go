package inference

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
)

// A TextModel is a loaded model. Calls from many goroutines are safe.
type TextModel interface {
	// Generate continues a raw prompt. Breaking out of the range cancels the request; Err
	// tells after it how it ended. Where streams run together, ask for an ErrorStreamer.
	Generate(ctx context.Context, prompt string, options ...GenerateOption) iter.Seq[Token]
	// Chat answers a conversation through the model's own template, like Generate.
	Chat(ctx context.Context, messages []Message, options ...GenerateOption) iter.Seq[Token]
	// Classify runs each prompt once; the results are in the prompts' order.
	Classify(ctx context.Context, prompts []string, options ...GenerateOption) ([]ClassifyResult, error)
	// BatchGenerate continues many raw prompts; the results are in the prompts' order.
	BatchGenerate(ctx context.Context, prompts []string, options ...GenerateOption) ([]BatchResult, error)
	// ModelType is the architecture's name.
	ModelType() string
	// Info describes the model.
	Info() ModelInfo
	// Metrics are the figures of the last operation.
	Metrics() GenerateMetrics
	// Err is how the last stream that ended did so: nil at the end of the text or the token
	// limit, the context's error where that ended it.
	//
	// It is the model's, not a stream's: with streams in several goroutines it can't tell
	// which of them failed. Then it errs on the safe side. A failure stays until a stream ends
	// well that began after it, so a stream that ends well may see the error of one that ran
	// beside it; a failure is hidden only by a stream that began after it and has ended since.
	// For errors that are each stream's own, see ErrorStreamer.
	Err() error
	// Close gives back all that the model took. Closing twice is harmless.
	Close() error
}

// A Backend loads models.
type Backend interface {
	Name() string
	LoadModel(path string, options ...LoadOption) (TextModel, error)
	// Available says whether it can run here.
	Available() bool
}

// preferred are the backends that Default looks for first.
var preferred = []string{"metal", "rocm", "llama_cpp"}

var registry struct {
	sync.RWMutex
	backends map[string]Backend
}

// Register makes a backend known by its name; a later one of the same name replaces it.
func Register(backend Backend) {
	registry.Lock()
	defer registry.Unlock()
	if registry.backends == nil {
		registry.backends = make(map[string]Backend)
	}
	registry.backends[backend.Name()] = backend
}

// Get is the backend of a name.
func Get(name string) (Backend, bool) {
	registry.RLock()
	defer registry.RUnlock()
	backend, ok := registry.backends[name]
	return backend, ok
}

// List is the names of all backends, sorted.
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

// Default is metal, rocm or llama_cpp where one of them is registered and available, then any
// that is available.
func Default() (Backend, error) {
	for _, name := range slices.Concat(preferred, List()) {
		if backend, ok := Get(name); ok && backend.Available() {
			return backend, nil
		}
	}
	return nil, fmt.Errorf("inference: no backend is available here (registered: %s)", known())
}

// LoadModel loads a model folder with the backend that WithBackend names, or the Default.
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
		return nil, fmt.Errorf("inference: backend %q is not registered (registered: %s)", name, known())
	}
	if !backend.Available() {
		return nil, fmt.Errorf("inference: backend %q is not available here", name)
	}
	return backend, nil
}

func known() string {
	if names := List(); len(names) > 0 {
		return strings.Join(names, ", ")
	}
	return "none"
}
