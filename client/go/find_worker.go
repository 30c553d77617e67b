package mlxwire

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// WorkerVariable is the name of the environment variable that holds the worker's command.
const WorkerVariable = "MLXWIRE_WORKER"

const (
	workerProgram = "mlxwire-worker"
	workerModule  = "mlxwire_worker"
	// safePath keeps the working directory, which may be a model's folder, out of Python's sys.path.
	safePath = "-P"
	// moduleCheck is generous because the first start of Python may read from a cold disk.
	moduleCheck = 10 * time.Second
)

// FindWorker returns the command line of the worker that Start runs without WithCommand. It is
// the first of these that exists:
//
//   - the value of MLXWIRE_WORKER, split into words as a shell does,
//   - mlxwire-worker on the PATH,
//   - python3 -P -m mlxwire_worker, if python3 can import that module. With -P, Python imports no
//     files of the working directory.
//
// The error is an ErrSpawnFailed that says what to install.
func FindWorker() ([]string, error) {
	return findWorker(context.Background(), os.Getenv(WorkerVariable))
}

func findWorker(ctx context.Context, named string) ([]string, error) {
	if strings.TrimSpace(named) != "" {
		words, err := shellWords(named)
		if err != nil {
			return nil, newError(ErrSpawnFailed, "the value of `%s` can't be split into words: %v; correct it", WorkerVariable, err)
		}
		return words, nil
	}
	if program, err := exec.LookPath(workerProgram); err == nil {
		return []string{program}, nil
	}
	if python, err := exec.LookPath(pythonProgram()); err == nil && hasWorker(ctx, python) {
		return []string{python, safePath, "-m", workerModule}, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err // the search is not complete
	}
	e := newError(ErrSpawnFailed,
		"no worker was found; install one with `pip install 'mlxwire[mlx]'` (or `uv tool install 'mlxwire[mlx]'`), "+
			"or name its command in %s or WithCommand", WorkerVariable)
	e.cause = notFound(exec.ErrNotFound)
	return nil, e
}

func pythonProgram() string {
	if runtime.GOOS == "windows" {
		return "python"
	}
	return "python3"
}

// hasWorker returns true if an interpreter can import the worker. It looks for the module and
// does not import it, which would take seconds.
func hasWorker(ctx context.Context, python string) bool {
	ctx, cancel := context.WithTimeout(ctx, moduleCheck)
	defer cancel()
	const script = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
	check := exec.CommandContext(ctx, python, safePath, "-c", script, workerModule)
	check.WaitDelay = time.Second
	return check.Run() == nil
}

// workerCommand returns the command line to start. A relative path of the program becomes
// absolute, so that it does not depend on the worker's working directory.
func workerCommand(ctx context.Context, o *startOptions) ([]string, error) {
	words := o.command
	if len(words) == 0 {
		found, err := findWorker(ctx, o.lookUp(WorkerVariable))
		if err != nil {
			return nil, err
		}
		words = found
	}
	words = append(append([]string(nil), words...), o.args...)
	if strings.ContainsRune(filepath.ToSlash(words[0]), '/') {
		if absolute, err := filepath.Abs(words[0]); err == nil {
			words[0] = absolute
		}
	}
	return words, nil
}

// shellWords splits a command line into words as a POSIX shell does: it knows white space,
// single and double quotes, and backslashes. On Windows a backslash is part of a path.
func shellWords(line string) ([]string, error) {
	const none = rune(0)
	var words []string
	var word strings.Builder
	inWord, escaped, quote := false, false, none
	for _, r := range line {
		switch {
		case escaped:
			if quote == '"' && !strings.ContainsRune("\"\\$`", r) {
				word.WriteRune('\\')
			}
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'' && runtime.GOOS != "windows":
			escaped, inWord = true, true
		case quote != none:
			if r == quote {
				quote = none
			} else {
				word.WriteRune(r)
			}
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case strings.ContainsRune(" \t\r\n", r):
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != none || escaped {
		return nil, errors.New("a quotation mark or a backslash at the end is not closed")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
