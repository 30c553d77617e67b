package process

import (
	"os"
	"syscall"
	"unsafe"
)

// awaitExit returns when the child has ended, and leaves it to be reaped: until then its
// number, and that of its group, can't be given to another process.
func awaitExit(child *os.Process) {
	const byPID = 1          // P_PID
	var info [128 / 8]uint64 // siginfo_t, which the kernel fills
	for errno := syscall.EINTR; errno == syscall.EINTR; {
		_, _, errno = syscall.Syscall6(
			syscall.SYS_WAITID, byPID, uintptr(child.Pid), uintptr(unsafe.Pointer(&info)),
			syscall.WEXITED|syscall.WNOWAIT, 0, 0,
		)
	}
}
