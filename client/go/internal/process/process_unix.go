//go:build linux || darwin

package process

import (
	"os"
	"syscall"
)

// A child has a process group of its own. So Ctrl-C reaches the host alone, and signals of the client
// reach everything that the child has started.

func (g group) terminate() { g.send(syscall.SIGTERM) }

func (g group) kill() { g.send(syscall.SIGKILL) }

func endingSignal(state *os.ProcessState) (number int, name string) {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return int(status.Signal()), status.Signal().String()
	}
	return 0, ""
}
