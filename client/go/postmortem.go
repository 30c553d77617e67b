package mlxwire

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/process"
)

// This file composes the errors about a worker that has ended.

// What the host should do about a worker that has ended.
const (
	startAnother = ". Start another one"
	anotherComes = ". The client starts another one if the policy of WithRestart allows it, and does not repeat requests"
)

// advise adds what the host should do to the failure of a running worker.
func advise(e *Error, restarts bool) {
	if e.Code != ErrWorkerCrashed && e.Code != ErrProtocolViolation {
		return // the errors of a failed start have advice of their own; after a close there is nothing to do
	}
	e.fact = e.Message
	if restarts {
		e.Message += anotherComes
	} else {
		e.Message += startAnother
	}
}

// tailBytes is how many bytes of stderr an error quotes.
const tailBytes = 4096

// notSpawned is the error of a program that the system did not start. The system's own error is
// the same for a missing program and a missing working directory, so this looks at the directory.
func notSpawned(words []string, dir string, err error) *Error {
	if dir != "" {
		if info, problem := os.Stat(dir); problem != nil || !info.IsDir() {
			e := newError(ErrSpawnFailed,
				"can't start the worker in `%s`, which is not an existing folder. Create it, or name another with WithDir", dir)
			e.cause = cmp.Or(problem, error(syscall.ENOTDIR))
			return e
		}
	}
	e := newError(ErrSpawnFailed,
		"can't start the worker `%s`: %w. Check the command, or install a worker with `pip install 'mlxwire[mlx]'`",
		describe(words), err)
	e.cause = notFound(err)
	return e
}

// notFound adds fs.ErrNotExist to the error of a program that is in no folder of the PATH.
func notFound(err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		return errors.Join(err, fs.ErrNotExist)
	}
	return err
}

// closedByHost is the error of a request to a worker that was closed before.
func closedByHost() *Error {
	return newError(ErrShuttingDown, "this worker was closed; start another one")
}

// cutByClose is the error of a request that a close of its worker cut.
func cutByClose() *Error {
	return newError(ErrCancelled, "the worker was closed before the request had ended, so the answer is not complete; start another worker")
}

// closedStream is the error of a stream that was closed or left before its end.
func closedStream() *Error {
	return newError(ErrCancelled, "%w: it was closed or left before its end; start a new request", ErrStreamClosed)
}

// readStream is the error of a second pass over a stream that was read to its end.
func readStream() *Error {
	return newError(ErrCancelled, "%w: it was read to its end before, and can be read once; start a new request", ErrStreamClosed)
}

// exited is the error of a worker that exited on its own. With greeting, it had not answered hello
// yet: it most likely is not a worker, or can't run here, and would exit again. strays are the
// other lines that it wrote to stdout.
func exited(state process.ExitState, greeting bool, strays []string, tail string) *Error {
	how := fmt.Sprintf("exited with code %d", state.Code)
	switch {
	case state.Unknown:
		how = "ended with an unknown status (another part of this program reaps children or ignores SIGCHLD)"
	case state.Signal != 0:
		how = fmt.Sprintf("was killed by signal %d (%s)", state.Signal, state.Name)
	}
	var e *Error
	if greeting {
		e = newError(ErrHandshakeFailed,
			"the worker %s before it answered hello%s. Read its stderr, check that the command is a worker, "+
				"or install one with `pip install 'mlxwire[mlx]'`",
			how, describeStrays(strays))
	} else {
		e = newError(ErrWorkerCrashed, "the worker %s", how)
	}
	e.Exit = &Exit{Unknown: state.Unknown, Code: state.Code, Signal: state.Signal, SignalName: state.Name}
	e.Stderr = tail
	return e
}

// closedItsPipe is the error of a worker that closed stdin or stdout and did not exit.
func closedItsPipe(which string, greeting bool, tail string) *Error {
	what := fmt.Sprintf("the worker closed its %s while it was still running", which)
	var e *Error
	if greeting {
		e = newError(ErrHandshakeFailed, "%s and before it answered hello. Check that the command is a worker", what)
	} else {
		e = newError(ErrWorkerCrashed, "%s, so the client ended it", what)
	}
	e.Stderr = tail
	return e
}

// hangs is the error of a worker that runs but makes no progress.
func hangs(verdict, tail string) *Error {
	e := newError(ErrWorkerCrashed, "the worker %s, so the client ended it", verdict)
	e.Stderr = tail
	return e
}

// killedAgain adds to a crash that the same request was alone in flight at the crash before.
func killedAgain(e *Error) {
	e.Retryable = false
	e.Message += ". The only request in flight was also the only one at the crash before: " +
		"it most likely crashes each worker, so do not send it again"
}

// gaveUp is the error of a worker that is not started again. last is its last crash.
func gaveUp(last *Error, crashes, serving int, window time.Duration) *Error {
	e := *last
	e.Code, e.Retryable = ErrWorkerCrashed, false
	e.Message = fmt.Sprintf("the worker crashed %d times within %v, %d of them with requests in flight and the others "+
		"at its start or while idle, and is given up. The last crash: %s",
		crashes, window, serving, cmp.Or(last.fact, last.Message))
	return &e
}

// offended is the error of a worker that broke a rule of the wire. With greeting, the program most
// likely is not a worker.
func offended(offence error, greeting bool, tail string) *Error {
	var e *Error
	if greeting {
		e = newError(ErrHandshakeFailed, "%w. Check that the command is a worker, and that client and worker have the same version", offence)
	} else {
		e = newError(ErrProtocolViolation, "%w, so the client ended the worker", offence)
	}
	e.Stderr = tail
	return e
}

func describeStrays(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return fmt.Sprintf(", but wrote %d other lines; the first is %.200q", len(lines), lines[0])
}
