package inference

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A fakeBackend is a backend with any name.
type fakeBackend struct {
	name      string
	available bool
	loaded    *LoadConfig
}

func (b fakeBackend) Name() string    { return b.name }
func (b fakeBackend) Available() bool { return b.available }

func (b fakeBackend) LoadModel(_ string, options ...LoadOption) (TextModel, error) {
	*b.loaded = ApplyLoadOpts(options)
	return nil, nil
}

// withBackends registers these backends and no other, for one test.
func withBackends(t *testing.T, backends ...Backend) {
	t.Helper()
	before := registry.backends
	t.Cleanup(func() { registry.backends = before })
	registry.backends = nil
	for _, backend := range backends {
		Register(backend)
	}
}

func TestDefaultPrefersAvailableBackendsInOrder(t *testing.T) {
	for _, c := range []struct {
		backends []Backend
		want     string
	}{
		{[]Backend{fakeBackend{name: "llama_cpp", available: true}, fakeBackend{name: "rocm", available: true}, fakeBackend{name: "a", available: true}}, "rocm"},
		{[]Backend{fakeBackend{name: "metal"}, fakeBackend{name: "llama_cpp", available: true}}, "llama_cpp"},
		{[]Backend{fakeBackend{name: "metal"}, fakeBackend{name: "z", available: true}, fakeBackend{name: "b"}}, "z"},
	} {
		withBackends(t, c.backends...)
		if backend, err := Default(); err != nil || backend.Name() != c.want {
			t.Errorf("the default is %v, %v; want %s", backend, err, c.want)
		}
	}
	withBackends(t, fakeBackend{name: "metal"})
	if backend, err := Default(); err == nil {
		t.Errorf("the default is %v, want an error", backend)
	}
}

func TestTheErrorOfAMissingBackendNamesIt(t *testing.T) {
	withBackends(t, fakeBackend{name: "absent"})
	for _, name := range []string{"absent", "unheard-of"} {
		if _, err := LoadModel("m", WithBackend(name)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("backend %s gave %v", name, err)
		}
	}
}

func TestLoadModelPassesItsOptionsOn(t *testing.T) {
	loaded := new(LoadConfig)
	withBackends(t, fakeBackend{name: "x", available: true, loaded: loaded})
	if _, err := LoadModel("m", WithBackend("x"), WithContextLen(7), WithParallelSlots(2), WithAdapterPath("a")); err != nil {
		t.Fatal(err)
	}
	want := LoadConfig{Backend: "x", ContextLen: 7, GPULayers: -1, ParallelSlots: 2, AdapterPath: "a"}
	if *loaded != want {
		t.Errorf("the backend received %+v", *loaded)
	}
}

func TestOptionsChangeTheirDefaults(t *testing.T) {
	config := ApplyGenerateOpts(nil)
	if config.MaxTokens != 256 || config.Temperature != 0 {
		t.Errorf("the default is %+v", config)
	}
	config = ApplyGenerateOpts([]GenerateOption{
		WithMaxTokens(1), WithTemperature(2), WithTopK(3), WithTopP(4), WithMinP(5),
		WithStopTokens(6, 7), WithRepeatPenalty(8), WithLogits(),
	})
	if config.MaxTokens != 1 || config.Temperature != 2 || config.TopK != 3 || config.TopP != 4 || config.MinP != 5 ||
		!slices.Equal(config.StopTokens, []int32{6, 7}) || config.RepeatPenalty != 8 || !config.ReturnLogits {
		t.Errorf("the options gave %+v", config)
	}
}

func TestDiscoverLooksOneLevelDeep(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("config.json", `{"model_type":"own"}`)
	write("model.safetensors", "")
	write("[b]*/config.json", `{"model_type":"llama","quantization":{"bits":4,"group_size":64}}`)
	write("[b]*/model-1.safetensors", "")
	write("[b]*/model-2.safetensors", "")
	write("c/config.json", `broken`)
	write("c/model.safetensors", "")
	write("no-weights/config.json", `{}`)
	write("no-config/model.safetensors", "")
	write("deep/er/config.json", `{}`)
	write("deep/er/model.safetensors", "")
	models, err := Discover(root)
	want := []DiscoveredModel{
		{Path: root, ModelType: "own", NumFiles: 1},
		{Path: filepath.Join(root, "[b]*"), ModelType: "llama", QuantBits: 4, QuantGroup: 64, NumFiles: 2},
		{Path: filepath.Join(root, "c"), NumFiles: 1},
	}
	if err != nil || !slices.Equal(models, want) {
		t.Errorf("Discover returned %+v, %v", models, err)
	}
	if _, err := Discover(filepath.Join(root, "nowhere")); err == nil {
		t.Error("Discover found models in a folder that does not exist")
	}
}
