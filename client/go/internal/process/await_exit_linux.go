package process

import (
	"os"
	"syscall"
	"unsafe"
)

// awaitExit returns when the child has exited, and does not reap it: until it is reaped, no other
// process can have its pid or its group's number.
func awaitExit(child *os.Process) {
	const byPID = 1          // P_PID
	var info [128 / 8]uint64 // a siginfo_t, which the kernel fills and nothing reads
	for errno := syscall.EINTR; errno == syscall.EINTR; {
		_, _, errno = syscall.Syscall6(
			syscall.SYS_WAITID, byPID, uintptr(child.Pid), uintptr(unsafe.Pointer(&info)),
			syscall.WEXITED|syscall.WNOWAIT, 0, 0,
		)
	}
}
