package process

import (
	"os"
	"os/signal"
	"syscall"
)

// A group is a child and everything that it started. Its number is the child's pid.
type group struct{ id int }

// A spawning gives a child a process group of its own.
type spawning struct{}

func (*spawning) attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func (*spawning) group(child *os.Process) group { return group{id: child.Pid} }

func (g group) release() {}

// awaitExit returns when the child has exited, and does not reap it: until it is reaped, no other
// process can have its pid or its group's number. It returns false if the system has reaped the child
// because the host ignores SIGCHLD. It does not notice another part of the host that reaps.
//
// It uses a kqueue because waitid on macOS returns for a stopped child too (golang#19314). The
// project's tests do not run this file, for lack of a Mac.
func (g group) awaitExit() (ours bool) {
	queue, err := syscall.Kqueue()
	if err != nil {
		return !signal.Ignored(syscall.SIGCHLD)
	}
	defer syscall.Close(queue)
	changes := []syscall.Kevent_t{{
		Ident:  uint64(g.id),
		Filter: syscall.EVFILT_PROC,
		Flags:  syscall.EV_ADD | syscall.EV_ONESHOT,
		Fflags: syscall.NOTE_EXIT,
	}}
	events := make([]syscall.Kevent_t, 1)
	for err = syscall.EINTR; err == syscall.EINTR; {
		// ESRCH means that the child has exited already.
		_, err = syscall.Kevent(queue, changes, events, nil)
	}
	return !signal.Ignored(syscall.SIGCHLD)
}

func (g group) send(signal syscall.Signal) {
	// ESRCH and EPERM mean that only zombies are left.
	_ = syscall.Kill(-g.id, signal)
}

// killRest ends what is left of the group of a child that has exited, if the number is still its own.
func (g group) killRest(ours bool) {
	if ours {
		g.kill()
	}
}
