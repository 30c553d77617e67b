package mlxwire

import "time"

// ShutdownLimits bounds the steps that end a worker: ask it to quit, close its stdin, SIGTERM to
// its process group, SIGKILL. The next step follows when a limit has passed. Close takes at most
// the sum of the limits. While pending requests still get their final replies, Quit counts up to ten
// times. A field that is left out has the value of DefaultShutdownLimits.
type ShutdownLimits struct {
	Quit       time.Duration
	CloseStdin time.Duration
	Terminate  time.Duration
	Kill       time.Duration
}

// DefaultShutdownLimits returns limits of 3, 2, 2 and 2 seconds.
func DefaultShutdownLimits() ShutdownLimits {
	return ShutdownLimits{
		Quit: 3 * time.Second, CloseStdin: 2 * time.Second,
		Terminate: 2 * time.Second, Kill: 2 * time.Second,
	}
}

// complete sets the fields that were left out. It returns an ErrInvalidParams for a negative limit.
func (l *ShutdownLimits) complete() error {
	byDefault := DefaultShutdownLimits()
	return first(
		fillDuration("ShutdownLimits.Quit", &l.Quit, byDefault.Quit),
		fillDuration("ShutdownLimits.CloseStdin", &l.CloseStdin, byDefault.CloseStdin),
		fillDuration("ShutdownLimits.Terminate", &l.Terminate, byDefault.Terminate),
		fillDuration("ShutdownLimits.Kill", &l.Kill, byDefault.Kill),
	)
}

// endable is the part of a process that endProcess needs.
type endable interface {
	CloseStdin()
	Terminate()
	Kill()
	Exited() <-chan struct{}
}

// mostTurns is how often the step of quit is taken at most, while the worker still sends final
// replies: it owes them, and writes them as long as they are read (SPEC §9).
const mostTurns = 10

// endProcess takes the steps of ShutdownLimits until the process has ended. It returns false if
// the process survived all of them. If sayQuit is nil, the steps begin at SIGTERM, because the
// worker does not read its stdin any more. inFlight returns how many requests wait for their final
// reply.
func endProcess(child endable, limits ShutdownLimits, sayQuit func(), inFlight func() int) bool {
	if sayQuit != nil {
		sayQuit()
		for range mostTurns {
			before := inFlight()
			if within(limits.Quit, child.Exited()) {
				return true
			}
			if left := inFlight(); left == 0 || left >= before {
				break
			}
		}
		child.CloseStdin()
		if within(limits.CloseStdin, child.Exited()) {
			return true
		}
	}
	child.CloseStdin()
	child.Terminate()
	if within(limits.Terminate, child.Exited()) {
		return true
	}
	child.Kill()
	return within(limits.Kill, child.Exited())
}

// within waits until a channel is closed. It returns false if the limit passes first.
func within(limit time.Duration, closed <-chan struct{}) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-closed:
		return true
	case <-timer.C:
		return false
	}
}
