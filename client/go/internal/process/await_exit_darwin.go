package process

import (
	"os"
	"syscall"
)

// awaitExit returns when the child has exited, and does not reap it: until it is reaped, no other
// process can have its pid or its group's number.
//
// It uses a kqueue because waitid on macOS returns for a stopped child too (golang#19314). The
// project's tests do not run this file, for lack of a Mac.
func awaitExit(child *os.Process) {
	queue, err := syscall.Kqueue()
	if err != nil {
		return
	}
	defer syscall.Close(queue)
	changes := []syscall.Kevent_t{{
		Ident:  uint64(child.Pid),
		Filter: syscall.EVFILT_PROC,
		Flags:  syscall.EV_ADD | syscall.EV_ONESHOT,
		Fflags: syscall.NOTE_EXIT,
	}}
	events := make([]syscall.Kevent_t, 1)
	for err = syscall.EINTR; err == syscall.EINTR; {
		// ESRCH means that the child has exited already.
		_, err = syscall.Kevent(queue, changes, events, nil)
	}
}
