package inference

import (
	"context"
	"errors"
	"go/build"
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
		{[]Backend{fakeBackend{name: "a", available: true}, fakeBackend{name: "mlx_lm", available: true}}, "mlx_lm"},
		{[]Backend{fakeBackend{name: "mlx_lm", available: true}, fakeBackend{name: "llama_cpp", available: true}}, "llama_cpp"},
		{[]Backend{fakeBackend{name: "metal"}, fakeBackend{name: "z", available: true}, fakeBackend{name: "b"}}, "z"},
	} {
		withBackends(t, c.backends...)
		if backend, err := Default(); err != nil || backend.Name() != c.want {
			t.Errorf("the default is %v, %v; want %s", backend, err, c.want)
		}
	}
	for _, backends := range [][]Backend{nil, {fakeBackend{name: "metal"}}} {
		withBackends(t, backends...)
		if backend, err := Default(); err == nil || !strings.Contains(err.Error(), "no backends registered") {
			t.Errorf("the default is %v, %v; want the error of no backend", backend, err)
		}
	}
}

func TestTheErrorOfAMissingBackendNamesIt(t *testing.T) {
	withBackends(t, fakeBackend{name: "absent"})
	for name, words := range map[string]string{"absent": "not available", "unheard-of": "not registered"} {
		_, err := LoadModel("m", WithBackend(name))
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), words) {
			t.Errorf("backend %s gave %v", name, err)
		}
	}
}

// A slowBackend loads until it is told to go on, and can't be interrupted.
type slowBackend struct {
	fakeBackend
	begun  chan struct{}
	goOn   chan struct{}
	closed chan struct{}
}

func (b slowBackend) LoadModel(string, ...LoadOption) (TextModel, error) {
	close(b.begun)
	<-b.goOn
	return closingModel{closed: b.closed}, nil
}

type closingModel struct {
	TextModel
	closed chan struct{}
}

func (m closingModel) Close() error { close(m.closed); return nil }

func TestALoadEndsWithItsContextAndTheLateModelIsClosed(t *testing.T) {
	slow := slowBackend{
		fakeBackend{name: "slow", available: true}, make(chan struct{}), make(chan struct{}), make(chan struct{}),
	}
	withBackends(t, slow)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-slow.begun // a context that ended before would leave no load, and no late model
		cancel()
	}()
	if model, err := LoadModelContext(ctx, "m"); !errors.Is(err, context.Canceled) || model != nil {
		t.Errorf("the load gave %v, %v", model, err)
	}
	close(slow.goOn)
	<-slow.closed
}

func TestArgumentsOfALoadAreCheckedBeforeTheBackendIsAsked(t *testing.T) {
	withBackends(t, fakeBackend{name: "x", available: true}) // its LoadModel would panic
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		ctx  context.Context
		path string
		want string
	}{{nil, "m", "nil"}, {context.Background(), "", "path"}, {ended, "m", "canceled"}} {
		if _, err := LoadModelContext(c.ctx, c.path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("the load gave %v, want %q", err, c.want)
		}
	}
}

func TestABackendWithoutANameCantBeRegistered(t *testing.T) {
	withBackends(t)
	for _, backend := range []Backend{nil, fakeBackend{}} {
		func() {
			defer func() { _ = recover() }()
			Register(backend)
			t.Errorf("the backend %v was registered", backend)
		}()
	}
	for name := range All() {
		t.Errorf("the backend %q is registered", name)
	}
}

// TestAHostWithoutTheWorkerDoesNotImportTheClient holds for the build tag that leaves the worker out.
func TestAHostWithoutTheWorkerDoesNotImportTheClient(t *testing.T) {
	setup := build.Default
	setup.BuildTags = []string{"nomlxlm"}
	found, err := setup.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found.Imports {
		if strings.Contains(path, "/") && strings.Contains(strings.Split(path, "/")[0], ".") {
			t.Errorf("the package imports %s", path)
		}
	}
}

func TestEachBackendIsGivenWithItsName(t *testing.T) {
	withBackends(t, fakeBackend{name: "b"}, fakeBackend{name: "a"})
	var names []string
	for name, backend := range All() {
		names = append(names, name+backend.Name())
	}
	if !slices.Equal(names, []string{"aa", "bb"}) {
		t.Errorf("All gave %q", names)
	}
}

func TestANilOptionIsSkipped(t *testing.T) {
	generate, load := ApplyGenerateOpts([]GenerateOption{nil, WithTopK(3)}), ApplyLoadOpts([]LoadOption{nil, WithContextLen(3)})
	if generate.TopK != 3 || load.ContextLen != 3 {
		t.Errorf("the options gave %+v and %+v", generate, load)
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
	write("config.json", `{"model_type":"own_text"}`)
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
	t.Chdir(filepath.Dir(root))
	if relative, err := Discover(filepath.Base(root)); err != nil || !slices.Equal(relative, want) {
		t.Errorf("Discover with a relative path returned %+v, %v", relative, err)
	}
	if found := slices.Collect(DiscoverSeq(root)); !slices.Equal(found, want) {
		t.Errorf("DiscoverSeq gave %+v", found)
	}
	if found := slices.Collect(DiscoverSeq(filepath.Join(root, "nowhere"))); found != nil {
		t.Errorf("DiscoverSeq gave %+v for a folder that does not exist", found)
	}
	if _, err := Discover(filepath.Join(root, "nowhere")); err == nil {
		t.Error("Discover found models in a folder that does not exist")
	}
}

func TestATypeThatNamesOnlyThePartForTextIsThatOfTheWhole(t *testing.T) {
	for given, want := range map[string]string{"gemma3_text": "gemma3", "gemma3": "gemma3", "qwen3_moe": "qwen3_moe", "": ""} {
		if got := family(given); got != want {
			t.Errorf("the family of %q is %q, want %q", given, got, want)
		}
	}
}
