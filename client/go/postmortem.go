package mlxwire

import (
	"fmt"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/process"
)

// What is said of a worker that ended: by itself, by its host, or for an offence.

// tailBytes is how much of stderr goes into an error.
const tailBytes = 4096

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
	e := newError(ErrWorkerCrashed, "the worker %s. Start another one", how)
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
	e := newError(ErrWorkerCrashed, "%s, and is ended for that. Start another one", what)
	if greeting {
		e = newError(ErrHandshakeFailed, "%s, before it answered hello. Check that the command is a worker", what)
	}
	e.Stderr = tail
	return e
}

// hangs tells of a worker that lives, and makes no progress.
func hangs(verdict, tail string) *Error {
	e := newError(ErrWorkerCrashed, "the worker %s, and is ended for that. Start another one", verdict)
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
		"at its start or idle, and is given up; the last time: %s", crashes, window, serving, last.Message)
	return &e
}

// offended tells of a broken rule; before the handshake that means it is no worker.
func offended(offence error, greeting bool, tail string) *Error {
	code := ErrProtocolViolation
	if greeting {
		code = ErrHandshakeFailed
	}
	e := newError(code, "%v. Stop this worker and start another", offence)
	e.Stderr = tail
	return e
}

func describeStrays(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return fmt.Sprintf(", but wrote %d other lines, the first %.200q", len(lines), lines[0])
}
