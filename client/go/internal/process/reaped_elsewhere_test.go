//go:build linux

package process

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// These tests are about hosts that reap this package's children.

// ignoreSigchld makes the system reap the children of this process until the test ends.
func ignoreSigchld(t *testing.T) {
	signal.Ignore(syscall.SIGCHLD)
	t.Cleanup(func() { // signal.Reset would leave the signal ignored
		heard := make(chan os.Signal, 1)
		signal.Notify(heard, syscall.SIGCHLD)
		signal.Stop(heard)
	})
}

func TestTheStatusIsUnknownIfTheHostIgnoresSigchld(t *testing.T) {
	ignoreSigchld(t)
	p, stdout := start(t, "echo out; exit 3", Handlers{})
	await(t, "the exit", p.Exited())
	if state := p.ExitState(); state != (ExitState{Unknown: true, Code: -1}) || stdout.text() != "out\n" {
		t.Errorf("the exit state is %+v, after %q", state, stdout.text())
	}
}

func TestTheStatusIsUnknownIfAnotherPartOfTheHostReaps(t *testing.T) {
	p, _ := start(t, "exec sleep 600", Handlers{})
	p.mu.Lock() // so that the package itself can't reap
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_, err := syscall.Wait4(p.PID(), nil, 0, nil)
	p.mu.Unlock()
	await(t, "the exit", p.Exited())
	if state := p.ExitState(); err != nil || !state.Unknown {
		t.Errorf("the exit state is %+v, %v", state, err)
	}
}

// background starts a shell that writes the pid of its background process first, and returns it. told
// receives what they write afterwards.
func background(t *testing.T, script string) (p *Process, pid int, told <-chan string) {
	t.Helper()
	all := make(chan string, 8)
	p, _ = start(t, script, Handlers{Stdout: func(chunk []byte) { all <- string(chunk) }})
	pid, err := strconv.Atoi(strings.TrimSpace(<-all))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	return p, pid, all
}

// lives returns true if a process runs. A zombie does not.
func lives(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(text), ") Z ")
}

func TestTheRestOfAGroupEndsAlthoughItsChildWasReapedElsewhere(t *testing.T) {
	ignoreSigchld(t)
	p, grandchild, _ := background(t, "sleep 600 >/dev/null 2>&1 & echo $!; read line")
	if _, _, errno := syscall.Syscall6(424, uintptr(p.group.pidfd), 0, 0, 1<<2, 0, 0); errno != 0 {
		t.Skipf("this kernel can't signal a group by a pidfd: %v", errno)
	}
	p.CloseStdin() // ends the shell
	await(t, "the exit", p.Exited())
	for began := time.Now(); lives(grandchild); {
		if time.Since(began) > patience {
			t.Fatal("the rest of the group lives on")
		}
	}
}

func TestANumberThatIsNoLongerTheChildsIsNotSignalled(t *testing.T) {
	// The stranger, which is not a child of this process, stands for the one that was given the number of
	// a child that was reaped elsewhere.
	p, stranger, told := background(t, `exec 3<&0; setsid sh -c 'read line; echo alive' <&3 & echo $!; wait`)
	child := exec.Command("/bin/true")
	var spawned spawning
	child.SysProcAttr = spawned.attributes()
	if err := child.Run(); err != nil {
		t.Fatal(err)
	}
	reaped := spawned.group(child.Process)
	defer reaped.release()
	for _, taken := range []group{{id: stranger, pidfd: -1}, {id: stranger, pidfd: reaped.pidfd}} {
		if taken.awaitExit() {
			t.Errorf("the child of %+v is taken for this host's own", taken)
		}
		taken.terminate()
		taken.killRest(false)
	}
	p.Write([]byte("\n"))
	await(t, "the exit", p.Exited()) // the shell ends with its background process
	if len(told) == 0 {
		t.Error("another process was signalled")
	}
}
