package mlxwire

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestACommandIsSplitAsAShellSplitsIt(t *testing.T) {
	for line, want := range map[string][]string{
		``:                    nil,
		`  a  b	c `:           {"a", "b", "c"},
		`a 'b c' "d e"`:       {"a", "b c", "d e"},
		`a\ b 'c\d' "e\"f\g"`: {"a b", `c\d`, `e"f\g`},
		`a"b"'c'd ''`:         {"abcd", ""},
	} {
		if words, err := shellWords(line); err != nil || !slices.Equal(words, want) {
			t.Errorf("%q was split into %q, %v", line, words, err)
		}
	}
	for _, line := range []string{`'a`, `"a`, `a\`} {
		if words, err := shellWords(line); err == nil {
			t.Errorf("%q was split into %q, want an error", line, words)
		}
	}
}

// program creates an executable file in a folder of its own.
func program(t *testing.T, name, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindWorkerLooksInOrder(t *testing.T) {
	worker := program(t, workerProgram, "exit 0")
	with := program(t, pythonProgram(), `test "$1" = -P`) // no file of the working directory may run
	without := program(t, pythonProgram(), "exit 1")
	folders := func(programs ...string) string {
		var path []string
		for _, program := range programs {
			path = append(path, filepath.Dir(program))
		}
		return strings.Join(path, string(os.PathListSeparator))
	}
	for _, c := range []struct {
		named, path string
		want        []string
	}{
		{"a 'b c'", folders(worker, with), []string{"a", "b c"}},
		{" ", folders(worker, with), []string{worker}},
		{"", folders(with), []string{with, "-P", "-m", workerModule}},
	} {
		t.Setenv("PATH", c.path)
		t.Setenv(WorkerVariable, c.named)
		if words, err := FindWorker(); err != nil || !slices.Equal(words, c.want) {
			t.Errorf("for %+v FindWorker returned %q, %v", c, words, err)
		}
	}
	t.Setenv("PATH", folders(without))
	_, err := FindWorker()
	if !errors.Is(err, ErrSpawnFailed) || !strings.Contains(err.Error(), "pip install 'mlxwire[mlx]'") {
		t.Errorf("without a worker FindWorker gave %v", err)
	}
}

func TestTheOptionTakesPrecedenceOverTheEnvironment(t *testing.T) {
	t.Setenv(WorkerVariable, "named")
	o, _ := applyStartOptions([]StartOption{WithCommand("given", "x"), WithEngine("mock")})
	if words, err := workerCommand(t.Context(), o); err != nil || !slices.Equal(words, []string{"given", "x", "--engine", "mock"}) {
		t.Errorf("the command is %q, %v", words, err)
	}
	o, _ = applyStartOptions([]StartOption{WithEnv(WorkerVariable + "=own")})
	if words, err := workerCommand(t.Context(), o); err != nil || !slices.Equal(words, []string{"own"}) {
		t.Errorf("the command is %q, %v", words, err)
	}
}

func TestEveryWorkerLearnsThePidOfItsHost(t *testing.T) {
	t.Setenv(parentVariable, "1") // a host that is itself a worker's child has the variable
	o, _ := applyStartOptions([]StartOption{WithEnv("A=b", parentVariable+"=2")})
	variables := o.environment()
	if last := variables[len(variables)-1]; last != parentVariable+"="+strconv.Itoa(os.Getpid()) || !slices.Contains(variables, "A=b") {
		t.Errorf("the environment ends with %q", last)
	}
}

func TestTheContextBoundsTheSearchForAWorker(t *testing.T) {
	t.Setenv("PATH", filepath.Dir(program(t, pythonProgram(), "exit 0")))
	ended, end := context.WithCancel(t.Context())
	end()
	if words, err := findWorker(ended, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("the search found %q, %v, want the context's error", words, err)
	}
}
