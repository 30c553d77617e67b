package mlxwire

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDiscoverTellsWholeAndBrokenModels(t *testing.T) {
	for _, options := range [][]StartOption{nil, {WithRestart(promptPolicy(3))}} {
		worker, err := Start(deadlined(t), append([]StartOption{realWorker(t, "mock")}, options...)...)
		if err != nil {
			t.Fatal(err)
		}
		folder := filepath.Join(t.TempDir(), "small")
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		models, err := worker.Discover(deadlined(t), []string{folder, folder + "-gone"})
		if err != nil || len(models) != 2 {
			t.Fatalf("discover returned %+v, %v", models, err)
		}
		whole, broken := models[0], models[1]
		if whole.Err != nil || whole.Name != "small" || filepath.Base(whole.Path) != "small" || whole.ModelType != "mock" {
			t.Errorf("the whole model is %+v", whole)
		}
		if !errors.Is(broken.Err, ErrModelNotFound) || broken.Index != 1 || broken.Name != "small-gone" || !filepath.IsAbs(broken.Path) {
			t.Errorf("the broken model is %+v", broken)
		}
		stream, err := worker.DiscoverStream(deadlined(t), []string{folder})
		if err != nil {
			t.Fatal(err)
		}
		if found, err := collect(stream.Results()); err != nil || len(found) != 1 {
			t.Errorf("the stream gave %+v, %v", found, err)
		}
		if _, err := worker.Discover(deadlined(t), nil, WithCheck("all")); !errors.Is(err, ErrInvalidParams) || !strings.Contains(err.Error(), "WithCheck") {
			t.Errorf("another check gave %v", err)
		}
		if _, err := worker.Fit(deadlined(t), folder, WithContextLen(0)); !errors.Is(err, ErrInvalidParams) || !strings.Contains(err.Error(), "WithContextLen") {
			t.Errorf("a fit of no context gave %v", err)
		}
		if err := worker.Close(); err != nil {
			t.Error(err)
		}
		if _, err := worker.Discover(deadlined(t), nil); !errors.Is(err, ErrShuttingDown) {
			t.Errorf("a closed worker gave %v", err)
		}
	}
}

func TestFitPredictsForAFolderAndForTheLoadedModel(t *testing.T) {
	worker, model := startMock(t)
	ctx := deadlined(t)
	folder, err := worker.Fit(ctx, t.TempDir(), WithContextLen(100), WithParallelSlots(2))
	if err != nil || folder.ContextLen != 100 || folder.ParallelSlots != 2 || !folder.Fits {
		t.Errorf("fit of a folder returned %+v, %v", folder, err)
	}
	longest, err := worker.Fit(ctx, t.TempDir(), WithLongestContext())
	if err != nil || longest.ContextLen != longest.MaxContextLen || longest.ContextLen == 0 {
		t.Errorf("fit of the longest context returned %+v, %v", longest, err)
	}
	loaded, err := model.Fit(ctx, WithMemoryLimit(1))
	if err != nil || loaded.Path != "mock" || loaded.Fits || loaded.MaxContextLen != 0 {
		t.Errorf("fit of the loaded model returned %+v, %v", loaded, err)
	}
	for _, option := range []LoadOption{WithAdapter("a"), WithWarmup(false), WithLoadProgress(func(Progress) {})} {
		if _, err := model.Fit(ctx, option); !errors.Is(err, ErrInvalidParams) || !strings.Contains(err.Error(), "With") {
			t.Errorf("an option of a load that has nothing to do with memory gave %v", err)
		}
	}
	if err := model.Close(); err != nil {
		t.Error(err)
	}
	if _, err := model.Fit(ctx); !errors.Is(err, ErrModelNotLoaded) {
		t.Errorf("fit of a model that is gone gave %v", err)
	}
}
