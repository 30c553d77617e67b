package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// cellLimit is how long a cell may take before it counts as hanging.
const cellLimit = 20 * time.Second

// A cell is one line of the driver's stdin: what to do, and with which request.
type cell struct {
	Cell    string   `json:"cell"`
	Do      string   `json:"do"`
	Command string   `json:"command"`
	Prompt  string   `json:"prompt"`
	Prompts []string `json:"prompts"`

	// Of stop and second_pass.
	Cause      string `json:"cause"`
	Phase      string `json:"phase"`
	PauseAfter int    `json:"pause_after"`
	Collect    bool   `json:"collect"`
	End        string `json:"end"`

	// Stream, of read, is whether a batch streams its tokens.
	Stream bool `json:"stream"`
	// Tools, of read and answer, is whether the request has a tool.
	Tools bool `json:"tools"`

	// Beside is the script of the request beside, or the options beside.
	Beside json.RawMessage `json:"beside"`

	// Of option, never and policy.
	Of      string             `json:"of"`
	Option  string             `json:"option"`
	Value   any                `json:"value"`
	Worker  string             `json:"worker"`
	Policy  map[string]float64 `json:"policy"`
	Crashes int                `json:"crashes"`
}

// An answer is one line of the driver's stdout, without the name of its cell.
type answer map[string]any

// runCells answers each cell of a reader with a line on stdout.
func runCells(cells io.Reader) error {
	tasks := map[string]func(*cell) (answer, error){
		"stop": stop, "second_pass": secondPass, "read": read, "answer": readAnswer,
		"option": giveOption, "never": never, "policy": crashUnderPolicy,
	}
	defer closeShared()
	out := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(cells)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		c := new(cell)
		if err := json.Unmarshal(lines.Bytes(), c); err != nil {
			return err
		}
		told := within(func() (answer, error) { return tasks[c.Do](c) })
		told["cell"] = c.Cell
		if err := out.Encode(told); err != nil {
			return err
		}
	}
	return lines.Err()
}

// within runs a cell. A cell that hangs is left behind.
func within(run func() (answer, error)) answer {
	done := make(chan answer, 1)
	go func() {
		told, err := run()
		if err != nil { // the cell could not be set up
			told = outcomeOf(err)
		}
		done <- told
	}()
	select {
	case told := <-done:
		return told
	case <-time.After(cellLimit):
		return answer{"outcome": "hangs"}
	}
}

// outcomeOf describes how an operation ended.
func outcomeOf(err error) answer {
	var own *mlxwire.Error
	switch {
	case err == nil:
		return answer{"outcome": "ok"}
	case errors.As(err, &own):
		return answer{"outcome": string(own.Code), "message": own.Message}
	case errors.Is(err, context.Canceled):
		return answer{"outcome": "own", "message": err.Error()}
	}
	return answer{"outcome": "untyped", "message": err.Error()}
}

// begin starts a worker and loads its model.
func begin(options ...mlxwire.StartOption) (*mlxwire.Worker, *mlxwire.Model, error) {
	worker, err := mlxwire.Start(context.Background(), options...)
	if err != nil {
		return nil, nil, err
	}
	model, err := worker.Load(context.Background(), "mock")
	if err != nil {
		_ = worker.Close()
		return nil, nil, err
	}
	return worker, model, nil
}

// received waits until the client has read all that the worker sent before, or its death.
func received(worker *mlxwire.Worker) {
	_, _ = worker.Metrics(context.Background())
}
