package mlxwire

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/process"
)

// What is said of a worker that ended: by itself, by its host, or for an offence.

// What is to be done about a worker that is gone: nothing, where its supervisor does it.
const (
	startAnother = ". Start another one"
	anotherComes = ". Another one is started, if WithRestart's policy allows; no request is sent again by itself"
)

// advise adds to the failure of a process what its host is to do.
func advise(e *Error, restarts bool) {
	if e.Code != ErrWorkerCrashed && e.Code != ErrProtocolViolation {
		return // a start that failed has its own advice, and what was closed needs none
	}
	if restarts {
		e.Message += anotherComes
	} else {
		e.Message += startAnother
	}
}

// tailBytes is how much of stderr goes into an error.
const tailBytes = 4096

// notSpawned tells of a program that the system did not start. Of a working directory that is
// not there the system says the same as of a program that is not.
func notSpawned(words []string, dir string, err error) *Error {
	if dir != "" {
		if info, problem := os.Stat(dir); problem != nil || !info.IsDir() {
			return newError(ErrSpawnFailed,
				"can't start the worker in `%s`, which is no folder that is there. Make it, or name another with WithDir", dir)
		}
	}
	return newError(ErrSpawnFailed,
		"can't start the worker `%s`: %v. Check the command, or install a worker with `pip install 'mlxwire[mlx]'`",
		describe(words), err)
}

func closedByHost() *Error {
	return newError(ErrShuttingDown, "this worker was closed; start another one")
}

// exited tells of a worker that ended though nobody asked. With greeting it had not answered
// hello yet: most likely it is no worker, or can't run here, and would exit as fast another
// time. strays is what it wrote instead.
func exited(state process.ExitState, greeting bool, strays []string, tail string) *Error {
	how := fmt.Sprintf("exited with code %d", state.Code)
	if state.Signal != 0 {
		how = fmt.Sprintf("was ended by signal %d (%s)", state.Signal, state.Name)
	}
	e := newError(ErrWorkerCrashed, "the worker %s", how)
	if greeting {
		e = newError(ErrHandshakeFailed,
			"the worker %s before it answered hello%s. See what it says on stderr, check that the command is a worker, "+
				"or install one with `pip install 'mlxwire[mlx]'`",
			how, describeStrays(strays))
	}
	e.Exit = &Exit{Code: state.Code, Signal: state.Signal, SignalName: state.Name}
	e.Stderr = tail
	return e
}

// closedItsPipe tells of a worker that lives, and can't be heard or spoken to any more.
func closedItsPipe(which string, greeting bool, tail string) *Error {
	what := fmt.Sprintf("the worker closed its %s while it was still running", which)
	e := newError(ErrWorkerCrashed, "%s, and is ended for that", what)
	if greeting {
		e = newError(ErrHandshakeFailed, "%s, before it answered hello. Check that the command is a worker", what)
	}
	e.Stderr = tail
	return e
}

// hangs tells of a worker that lives, and makes no progress.
func hangs(verdict, tail string) *Error {
	e := newError(ErrWorkerCrashed, "the worker %s, and is ended for that", verdict)
	e.Stderr = tail
	return e
}

// killedAgain adds to a crash that the one before was of the same request, as far as can be told.
func killedAgain(e *Error) {
	e.Retryable = false
	e.Message += ". Its only request was the only one at the crash before, too: " +
		"it most likely kills each worker, so don't send it again"
}

// gaveUp tells of a worker that is not started again; last is how it crashed last.
func gaveUp(last *Error, crashes, serving int, window time.Duration) *Error {
	e := *last
	e.Code, e.Retryable = ErrWorkerCrashed, false
	e.Message = fmt.Sprintf("the worker crashed %d times within %v, %d of them with requests in flight and the others "+
		"at its start or idle, and is given up; the last time: %s",
		crashes, window, serving, strings.Replace(last.Message, anotherComes, "", 1))
	return &e
}

// offended tells of a broken rule; before the handshake that means it is no worker.
func offended(offence error, greeting bool, tail string) *Error {
	e := newError(ErrProtocolViolation, "%v, and the worker is stopped for that", offence)
	if greeting {
		e = newError(ErrHandshakeFailed, "%v. Check that the command is a worker, of a version that this client knows", offence)
	}
	e.Stderr = tail
	return e
}

func describeStrays(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return fmt.Sprintf(", but wrote %d other lines, the first %.200q", len(lines), lines[0])
}
