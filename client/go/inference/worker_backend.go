//go:build !nomlxlm

package inference

import (
	"context"
	"errors"
	"fmt"

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
	config := ApplyLoadOpts(options)
	load, err := loadOptions(config)
	if err != nil {
		return nil, err
	}
	start := b.Options
	if len(b.Command) > 0 {
		start = append([]mlxwire.StartOption{mlxwire.WithCommand(b.Command[0], b.Command[1:]...)}, start...)
	}
	worker, err := mlxwire.Start(context.Background(), start...)
	if err != nil {
		return nil, fmt.Errorf("inference: mlx_lm: %w", err)
	}
	model, err := worker.Load(context.Background(), path, load...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("inference: mlx_lm: %w", err), worker.Close())
	}
	return newWorkerModel(worker, model), nil
}
