//go:build linux || darwin

package process

import (
	"os"
	"syscall"
)

// groupAttributes gives a child a process group of its own: Ctrl-C reaches the host alone, and
// the ladder reaches whatever the child has started.
func groupAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// A group is a child and all that it started. Its number is the child's own, so it may be
// signalled only until the child is reaped.
type group struct{ id int }

func newGroup(child *os.Process) group { return group{id: child.Pid} }

func (g group) terminate() { g.send(syscall.SIGTERM) }

func (g group) kill() { g.send(syscall.SIGKILL) }

func (g group) release() {}

func (g group) send(signal syscall.Signal) {
	// ESRCH and, on macOS, EPERM say that only zombies are left.
	_ = syscall.Kill(-g.id, signal)
}

func endingSignal(state *os.ProcessState) (number int, name string) {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return int(status.Signal()), status.Signal().String()
	}
	return 0, ""
}
