//go:build linux || darwin

package mlxwire

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// These tests need a real process: its pipes, its group, its death.

var quick = WithShutdownLimits(ShutdownLimits{
	Quit: 200 * time.Millisecond, CloseStdin: 200 * time.Millisecond,
	Terminate: 200 * time.Millisecond, Kill: patience,
})

// startRole starts a worker that must fail to start, and returns the error.
func startRole(t *testing.T, role string, options ...StartOption) *Error {
	t.Helper()
	worker, err := Start(deadlined(t), append(asRole(role), options...)...)
	if err == nil {
		worker.Close()
		t.Fatal("the worker started")
	}
	var own *Error
	if !errors.As(err, &own) {
		t.Fatalf("the start failed with %v, which is not an *Error", err)
	}
	return own
}

func TestAWorkerThatIgnoresEverythingIsKilled(t *testing.T) {
	err := startRole(t, "deaf", quick, WithStartTimeout(200*time.Millisecond))
	if err.Code != ErrHandshakeFailed {
		t.Errorf("the start failed with %+v", err)
	}
}

func TestAWorkerThatClosesStdoutAndLivesOnFailsToStart(t *testing.T) {
	err := startRole(t, "hang up", quick)
	if err.Code != ErrHandshakeFailed || !strings.Contains(err.Message, "stdout") {
		t.Errorf("the start failed with %+v", err)
	}
}

func TestAnExitIsNoticedWhileAGrandchildHoldsThePipes(t *testing.T) {
	err := startRole(t, "holder")
	if err.Code != ErrHandshakeFailed || err.Exit == nil || err.Exit.Code != 7 {
		t.Errorf("the start failed with %+v", err)
	}
	// It lives for ten minutes: a client that waited for its end would find it gone.
	grandchild, _ := os.FindProcess(grandchildPID(t, err.Stderr))
	if err := grandchild.Kill(); err != nil {
		t.Error(err)
	}
}

func TestTheRestOfTheGroupEndsWithTheWorker(t *testing.T) {
	err := startRole(t, "in group")
	if err.Exit == nil || err.Exit.Code != 8 {
		t.Errorf("the start failed with %+v", err)
	}
	pid := grandchildPID(t, err.Stderr)
	deadline := time.Now().Add(patience)
	for alive(pid) {
		if time.Now().After(deadline) {
			t.Fatalf("the grandchild %d is still there", pid)
		}
	}
}

// grandchildPID reads the pid that a role writes to stderr.
func grandchildPID(t *testing.T, stderr string) int {
	t.Helper()
	_, number, _ := strings.Cut(strings.TrimSpace(stderr), "grandchild ")
	pid, err := strconv.Atoi(number)
	if err != nil {
		t.Fatalf("stderr has no pid: %q", stderr)
	}
	return pid
}

// alive returns false for a process that is gone, and for a zombie that waits for its parent.
func alive(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err != nil || !strings.Contains(string(stat), ") Z ")
}

func TestAKilledWorkerFailsItsRequestsAtOnce(t *testing.T) {
	worker, err := Start(deadlined(t), asRole("burst")...)
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	model, err := worker.Load(deadlined(t), "m")
	if err != nil {
		t.Fatal(err)
	}
	var last error
	for _, err := range model.Generate(deadlined(t), "200000") {
		if last = err; err == nil && alive(worker.PID()) {
			_ = syscall.Kill(worker.PID(), syscall.SIGKILL)
		}
	}
	var own *Error
	if !errors.As(last, &own) || own.Exit == nil || own.Exit.Signal != int(syscall.SIGKILL) || own.TokensDelivered == 0 {
		t.Errorf("the stream ended with %+v", last)
	}
}

func TestManyWorkersLeaveNoDescriptorBehind(t *testing.T) {
	const folder = "/proc/self/fd"
	if _, err := os.Stat(folder); err != nil {
		t.Skip("this system does not list descriptors in /proc")
	}
	once := func() {
		worker, err := Start(deadlined(t), asRole("burst")...)
		if err != nil {
			t.Fatal(err)
		}
		if err := worker.Close(); err != nil {
			t.Fatal(err)
		}
	}
	once() // opens the descriptors that stay open after a first use
	before := countFiles(t, folder)
	for range 50 {
		once()
	}
	if after := countFiles(t, folder); after > before {
		t.Errorf("%d descriptors were open before, and %d afterwards", before, after)
	}
}

func countFiles(t *testing.T, folder string) int {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestAConsumerThatDoesNotReadCostsNoMemory(t *testing.T) {
	worker, err := Start(deadlined(t), asRole("burst")...)
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	model, err := worker.Load(deadlined(t), "m")
	if err != nil {
		t.Fatal(err)
	}
	sleeper, err := model.GenerateStream(deadlined(t), "200000")
	if err != nil {
		t.Fatal(err)
	}
	for range model.Generate(deadlined(t), "50000") { // meanwhile nobody reads the other stream
	}
	request := sleeper.replies.request
	request.mu.Lock()
	waiting := len(sleeper.replies.incoming)
	request.mu.Unlock()
	if waiting > largestWindow {
		t.Errorf("%d messages wait for a consumer that does not read", waiting)
	}
	if _, err := sleeper.Text(); err != nil || sleeper.Delivered() != 200000 {
		t.Errorf("the consumer received %d tokens, %v", sleeper.Delivered(), err)
	}
}
