package process

import (
	"os"
	"syscall"
)

// Windows has neither process groups that can be signalled nor SIGTERM. A job object holds the child
// and what the child starts, and ends them together. The project's tests do not run this file, for
// lack of a Windows machine.

var (
	kernel32                 = syscall.NewLazyDLL("kernel32.dll")
	createJobObject          = kernel32.NewProc("CreateJobObjectW")
	assignProcessToJobObject = kernel32.NewProc("AssignProcessToJobObject")
	terminateJobObject       = kernel32.NewProc("TerminateJobObject")
)

// A spawning makes Ctrl-C in the console reach the host alone.
type spawning struct{}

func (*spawning) attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// A group is a job object, or the child alone if no job object could be made.
type group struct {
	child *os.Process
	job   syscall.Handle
}

func (*spawning) group(child *os.Process) group {
	g := group{child: child}
	const setQuotaAndTerminate = 0x0100 | syscall.PROCESS_TERMINATE
	process, err := syscall.OpenProcess(setQuotaAndTerminate, false, uint32(child.Pid))
	if err != nil {
		return g
	}
	defer syscall.CloseHandle(process)
	job, _, _ := createJobObject.Call(0, 0)
	if job == 0 {
		return g
	}
	if assigned, _, _ := assignProcessToJobObject.Call(job, uintptr(process)); assigned == 0 {
		_ = syscall.CloseHandle(syscall.Handle(job))
		return g
	}
	g.job = syscall.Handle(job)
	return g
}

func (g group) terminate() { g.kill() }

func (g group) killRest(bool) { g.kill() }

func (g group) kill() {
	const exitCode = 1
	if g.job != 0 {
		_, _, _ = terminateJobObject.Call(uintptr(g.job), exitCode)
		return
	}
	_ = g.child.Kill()
}

func (g group) release() {
	if g.job != 0 {
		_ = syscall.CloseHandle(g.job)
	}
}

// awaitExit returns when the child has exited. Nobody else can take its status, because handles are
// the client's own.
func (g group) awaitExit() (ours bool) {
	process, err := syscall.OpenProcess(syscall.SYNCHRONIZE, false, uint32(g.child.Pid))
	if err != nil {
		return true
	}
	defer syscall.CloseHandle(process)
	_, _ = syscall.WaitForSingleObject(process, syscall.INFINITE)
	return true
}

func endingSignal(*os.ProcessState) (number int, name string) { return 0, "" }

// readNow reads nothing: pipes of Windows have no deadlines, after which it would be called.
func readNow(*os.File, []byte) int { return 0 }
