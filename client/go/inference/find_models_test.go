//go:build !nomlxlm

package inference_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
	"github.com/mlxwire/mlxwire/client/go/inference"
)

func TestABackendFindsWholeAndBrokenModels(t *testing.T) {
	useWorker(t, "mlx")
	backend, ok := inference.Get("mlx_lm")
	finder, finds := backend.(inference.ModelFinder)
	if !ok || !finds {
		t.Fatalf("the backend %v finds no models", backend)
	}
	broken := filepath.Join(t.TempDir(), "deep", "broken")
	if err := os.MkdirAll(broken, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"config.json": `{"model_type":"llama"`, "model.safetensors": "x"} {
		if err := os.WriteFile(filepath.Join(broken, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var paths []string
	for model, err := range finder.FindModels(context.Background(), filepath.Dir(filepath.Dir(broken)), tiny) {
		paths = append(paths, filepath.Base(model.Path))
		switch filepath.Base(model.Path) {
		case "tiny":
			if err != nil || model.ModelType != "llama" || model.NumFiles != 1 || !filepath.IsAbs(model.Path) {
				t.Errorf("the tiny model is %+v, %v", model, err)
			}
		case "broken":
			if !errors.Is(err, mlxwire.ErrModelLoadFailed) {
				t.Errorf("the broken model is %+v, %v", model, err)
			}
		}
	}
	if len(paths) != 2 {
		t.Errorf("the models are %q", paths)
	}
	for range finder.FindModels(context.Background(), tiny) {
		break
	}
	for model, err := range finder.FindModels(nil, tiny) { //nolint:staticcheck // a nil context is refused
		if err == nil {
			t.Errorf("without a context came %+v", model)
		}
	}
}
