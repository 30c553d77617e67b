package mlxwire

import "time"

// ShutdownLimits is how long each step that ends a worker may take before the next: ask it to
// quit, close its stdin, SIGTERM to its group, SIGKILL. Close takes their sum at most.
type ShutdownLimits struct {
	Quit       time.Duration
	CloseStdin time.Duration
	Terminate  time.Duration
	Kill       time.Duration
}

// DefaultShutdownLimits are 3, 2, 2 and 2 seconds.
func DefaultShutdownLimits() ShutdownLimits {
	return ShutdownLimits{
		Quit: 3 * time.Second, CloseStdin: 2 * time.Second,
		Terminate: 2 * time.Second, Kill: 2 * time.Second,
	}
}

// endable is what the ladder needs of a process.
type endable interface {
	CloseStdin()
	Terminate()
	Kill()
	Exited() <-chan struct{}
}

// endProcess goes down the ladder as far as it takes, and reports whether the process has
// ended. Without sayQuit the ladder begins at SIGTERM, for a worker that can't be talked to.
func endProcess(child endable, limits ShutdownLimits, sayQuit func()) bool {
	if sayQuit != nil {
		sayQuit()
		if within(limits.Quit, child.Exited()) {
			return true
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

// within waits for a channel to be closed, and reports whether it was in time.
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
