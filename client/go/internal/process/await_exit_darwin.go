package process

import (
	"os"
	"syscall"
)

// awaitExit returns when the child has ended, and leaves it to be reaped: until then its
// number, and that of its group, can't be given to another process.
//
// macOS' waitid returns for a stopped child too (golang#19314), so a kqueue tells.
// Not run by this project's tests, which have no Mac.
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
		// ESRCH says that it has ended already.
		_, err = syscall.Kevent(queue, changes, events, nil)
	}
}
