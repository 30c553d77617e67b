//go:build !nomlxlm

package inference

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

func init() { Register(WorkerBackend{}) }

// WorkerBackend is the backend "mlx_lm". It starts a worker process for each model; the model's
// Close ends the process.
type WorkerBackend struct {
	// Options are passed to mlxwire.Start. Register a WorkerBackend with options to log, or to
	// restart the worker after a crash.
	Options []mlxwire.StartOption
	// Command is the worker's command line. If it is empty, mlxwire.FindWorker finds one.
	Command []string
}

// Name returns "mlx_lm".
func (WorkerBackend) Name() string { return "mlx_lm" }

// Available returns true if there is a worker to start.
func (b WorkerBackend) Available() bool {
	if len(b.Command) > 0 {
		return true
	}
	_, err := mlxwire.FindWorker()
	return err == nil
}

// LoadModel starts a worker and loads a model folder.
func (b WorkerBackend) LoadModel(path string, options ...LoadOption) (TextModel, error) {
	return b.LoadModelContext(context.Background(), path, options...)
}

// LoadModelContext implements ContextLoader. If the context ends, the worker has ended when
// LoadModelContext returns.
func (b WorkerBackend) LoadModelContext(ctx context.Context, path string, options ...LoadOption) (TextModel, error) {
	if ctx == nil {
		return nil, errNilContext
	}
	if path == "" {
		return nil, errNoPath
	}
	config := ApplyLoadOpts(options)
	load, err := loadOptions(config)
	if err != nil {
		return nil, err
	}
	worker, err := b.start(ctx)
	if err != nil {
		return nil, err
	}
	model := &workerModel{worker: worker}
	if err := model.load(ctx, path, config, load); err != nil {
		return nil, errors.Join(fmt.Errorf("inference: mlx_lm: %w", err), worker.Close())
	}
	return model, nil
}

func (b WorkerBackend) start(ctx context.Context) (*mlxwire.Worker, error) {
	options := b.Options
	if len(b.Command) > 0 {
		options = append([]mlxwire.StartOption{mlxwire.WithCommand(b.Command[0], b.Command[1:]...)}, options...)
	}
	worker, err := mlxwire.Start(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("inference: mlx_lm: %w", err)
	}
	return worker, nil
}

// FindModels implements ModelFinder. It starts a worker and ends it.
func (b WorkerBackend) FindModels(ctx context.Context, dirs ...string) iter.Seq2[DiscoveredModel, error] {
	return func(yield func(DiscoveredModel, error) bool) {
		if ctx == nil {
			yield(DiscoveredModel{}, errNilContext)
			return
		}
		absolute, err := absolutePaths(dirs)
		if err != nil {
			yield(DiscoveredModel{}, err)
			return
		}
		worker, err := b.start(ctx)
		if err != nil {
			yield(DiscoveredModel{}, err)
			return
		}
		defer worker.Close()
		stream, err := worker.DiscoverStream(ctx, absolute)
		if err != nil {
			yield(DiscoveredModel{}, err)
			return
		}
		for found, err := range stream.Results() {
			model := DiscoveredModel{
				Path: found.Path, ModelType: family(found.ModelType), QuantBits: found.QuantBits, QuantGroup: found.QuantGroup,
			}
			if found.Path != "" {
				model.NumFiles = countWeights(found.Path)
			}
			if err == nil {
				err = found.Err
			}
			if !yield(model, err) {
				return
			}
		}
	}
}

// absolutePaths returns paths that do not depend on the folder in which the worker runs.
func absolutePaths(dirs []string) ([]string, error) {
	absolute := make([]string, len(dirs))
	for i, dir := range dirs {
		path, err := filepath.Abs(dir)
		if err != nil {
			return nil, fmt.Errorf("inference: can't find the folder of models: %w", err)
		}
		absolute[i] = path
	}
	return absolute, nil
}

// load loads the folder, with a rotating window if the host wants a certain context.
func (m *workerModel) load(ctx context.Context, path string, config LoadConfig, options []mlxwire.LoadOption) (err error) {
	if config.GPULayers != allLayers {
		m.warnings = append(m.warnings, fmt.Sprintf(
			"WithGPULayers(%d) has no effect, because mlx_lm computes all layers on one device", config.GPULayers))
	}
	rotates := config.ContextLen != 0
	if rotates {
		rotating := append(slices.Clone(options), mlxwire.WithContextPolicy("rotate"))
		m.model, err = m.worker.Load(ctx, path, rotating...)
		rotates = !cantRotate(err)
	}
	if !rotates {
		m.model, err = m.worker.Load(ctx, path, options...)
	}
	if err != nil {
		return err
	}
	if config.ContextLen != 0 && !rotates {
		m.warnings = append(m.warnings, fmt.Sprintf(
			"the window of WithContextLen(%d) can't rotate with this model, so a text that fills it ends with an error",
			config.ContextLen))
	}
	m.warnings = append(m.warnings, m.model.Loaded().Warnings...)
	return nil
}

// cantRotate returns true if the worker has refused the rotating window and nothing else. The model
// then loads without one.
func cantRotate(err error) bool {
	var refusal *mlxwire.Error
	if !errors.As(err, &refusal) {
		return false
	}
	missing, _ := refusal.Data["missing"].([]any) // an engine without windows, such as the mock
	return refusal.Code == mlxwire.ErrInvalidParams && refusal.Field() == "context_policy" ||
		refusal.Code == mlxwire.ErrUnsupportedCapability && slices.Contains(missing, any("context_policy"))
}
