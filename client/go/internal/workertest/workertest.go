// Package workertest helps this module's tests to find a real worker and to wait for events.
package workertest

import (
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// Variable is the environment variable that names the worker's command line.
const Variable = "MLXWIRE_WORKER"

// Patience is how long a test waits for an event that must come. It is long enough for a loaded
// machine.
const Patience = 30 * time.Second

// CommandLine returns the command line of a real worker with the given engine ("mlx" or "mock"),
// for MLXWIRE_WORKER: the command that this variable names, else the worker in the checkout's
// .venv. Without either, the test fails in CI and is skipped elsewhere.
func CommandLine(t testing.TB, engine string) string {
	t.Helper()
	if named := os.Getenv(Variable); named != "" {
		return named + " --engine " + engine
	}
	python, found := interpreter()
	if !found {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI needs a worker: name its command in %s, or set up .venv with `make setup`", Variable)
		}
		t.Skipf("no worker was found: name its command in %s, or set up .venv with `make setup`", Variable)
	}
	return "'" + python + "' -P -m mlxwire_worker --engine " + engine
}

// interpreter returns the Python of the nearest .venv above the working directory.
func interpreter() (path string, found bool) {
	program := filepath.Join(".venv", "bin", "python")
	if runtime.GOOS == "windows" {
		program = filepath.Join(".venv", "Scripts", "python.exe")
	}
	for above := "."; ; above = filepath.Join(above, "..") {
		folder, err := filepath.Abs(above)
		if err != nil {
			return "", false
		}
		path = filepath.Join(folder, program)
		if _, err := os.Stat(path); err == nil {
			return path, true
		}
		if folder == filepath.Dir(folder) {
			return "", false
		}
	}
}

// Await fails the test if the channel is not closed within Patience.
func Await(t testing.TB, event string, closed <-chan struct{}) {
	t.Helper()
	select {
	case <-closed:
	case <-time.After(Patience):
		t.Fatalf("%s did not come within %v", event, Patience)
	}
}

// Go runs a function in a goroutine of a group. WaitGroup has such a method from Go 1.25 on.
func Go(group *sync.WaitGroup, run func()) {
	group.Add(1)
	go func() {
		defer group.Done()
		run()
	}()
}
