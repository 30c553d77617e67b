package process

import (
	"os"
	"syscall"
	"unsafe"
)

// A group is a child and everything that it started. Its number is the child's pid. Once the child was
// reaped, which the host may do itself, the system may give this number to another process. So the
// group is named by a pidfd where the kernel has one.
type group struct {
	id    int
	pidfd int // -1 if the kernel has none
}

// A spawning asks for the child's pidfd, and gives the child a process group of its own.
type spawning struct{ pidfd int }

func (s *spawning) attributes() *syscall.SysProcAttr {
	s.pidfd = -1
	return &syscall.SysProcAttr{Setpgid: true, PidFD: &s.pidfd}
}

func (s *spawning) group(child *os.Process) group { return group{id: child.Pid, pidfd: s.pidfd} }

func (g group) release() {
	if g.pidfd >= 0 {
		_ = syscall.Close(g.pidfd)
	}
}

// awaitExit returns when the child has exited, and does not reap it: until it is reaped, no other
// process can have its pid or its group's number. It returns false if the child was reaped elsewhere.
func (g group) awaitExit() (ours bool) { return g.wait(syscall.WEXITED|syscall.WNOWAIT) == 0 }

// wait calls waitid. ECHILD means that the child was reaped elsewhere.
func (g group) wait(options uintptr) syscall.Errno {
	const byPID, byPIDFD = 1, 3 // P_PID, P_PIDFD
	if g.pidfd >= 0 {
		// Any other error means that this kernel or sandbox can't wait for a pidfd.
		if errno := waitid(byPIDFD, uintptr(g.pidfd), options); errno == 0 || errno == syscall.ECHILD {
			return errno
		}
	}
	return waitid(byPID, uintptr(g.id), options)
}

func waitid(kind, id, options uintptr) syscall.Errno {
	var info [128 / 8]uint64 // a siginfo_t, which the kernel fills and nothing reads
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, kind, id, uintptr(unsafe.Pointer(&info)), options, 0, 0)
		if errno != syscall.EINTR {
			return errno
		}
	}
}

func (g group) send(signal syscall.Signal) {
	const (
		pidfdSendSignal = 424 // the same on every architecture of Go
		toGroup         = 1 << 2
	)
	if g.pidfd >= 0 {
		_, _, errno := syscall.Syscall6(pidfdSendSignal, uintptr(g.pidfd), uintptr(signal), 0, toGroup, 0, 0)
		if errno == 0 || errno == syscall.ESRCH {
			return
		}
	}
	// Kernels before 6.9 can't name a group by a pidfd. They get the number, while it is the child's.
	if g.wait(syscall.WEXITED|syscall.WNOWAIT|syscall.WNOHANG) == 0 {
		_ = syscall.Kill(-g.id, signal) // ESRCH means that only zombies are left
	}
}

// killRest ends what is left of the group of a child that has exited. send checks whose the number is.
func (g group) killRest(bool) { g.kill() }
