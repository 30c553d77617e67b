// Command driver runs one conformance scenario with this client and prints its result as one JSON
// object on one line; or it answers cells, a line each. tests/conformance/DRIVER.md specifies both.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"time"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

func main() {
	name := flag.String("scenario", "", "the scenario of DRIVER.md to run")
	cells := flag.Bool("cells", false, "answer the cells of stdin")
	flag.Parse()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if *cells {
		if err := runCells(os.Stdin); err != nil {
			logger.Error("the cells can't be answered", "error", err)
			os.Exit(1)
		}
		return
	}
	run, ok := scenarios[*name]
	if !ok {
		logger.Error("DRIVER.md has no such scenario", "name", *name)
		os.Exit(2)
	}
	s := &session{ctx: context.Background(), logger: logger, result: result{Scenario: *name, Outcome: "ok"}}
	run(s)
	s.close()
	if err := json.NewEncoder(os.Stdout).Encode(s.result); err != nil {
		logger.Error("can't write the result", "error", err)
		os.Exit(1)
	}
}

// A session is the worker, the model and the result of one scenario.
type session struct {
	ctx    context.Context
	logger *slog.Logger
	worker *mlxwire.Worker
	model  *mlxwire.Model
	result result
}

// start starts a worker and loads the model. It returns false if that failed, after it has put the
// error into the result.
func (s *session) start(options ...mlxwire.StartOption) bool {
	var err error
	s.worker, err = mlxwire.Start(s.ctx, append(options, mlxwire.WithLogger(s.logger))...)
	if err != nil {
		s.fail(err)
		return false
	}
	pid := s.worker.PID()
	s.result.WorkerPID = &pid
	s.model, err = s.worker.Load(s.ctx, modelPath())
	if err != nil {
		s.fail(err)
		return false
	}
	return true
}

func (s *session) fail(err error) {
	s.result.Outcome, s.result.Error = "error", describe(err)
}

// timed runs the operation that the scenario measures.
func (s *session) timed(operation func()) {
	began := time.Now()
	operation()
	s.result.Seconds = time.Since(began).Seconds()
}

func (s *session) close() {
	if s.worker == nil {
		return
	}
	began := time.Now()
	if err := s.worker.Close(); err != nil {
		s.logger.Error("the worker could not be closed", "error", err)
	}
	s.result.ClosedSeconds = time.Since(began).Seconds()
	s.worker = nil
}

func modelPath() string {
	if path := os.Getenv("MLXWIRE_MODEL"); path != "" {
		return path
	}
	return "mock"
}
