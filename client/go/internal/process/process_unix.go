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

// readNow reads what a pipe holds and does not wait. It returns 0 or less if the pipe holds nothing.
func readNow(pipe *os.File, buffer []byte) int {
	descriptor, err := pipe.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	_ = descriptor.Read(func(fd uintptr) bool {
		n, _ = syscall.Read(int(fd), buffer)
		return true
	})
	return n
}
