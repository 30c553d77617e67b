//go:build linux || darwin

package process

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// startCommand runs a command that ends by itself, and returns what it wrote to stdout.
func startCommand(t *testing.T, command Command) string {
	t.Helper()
	stdout := new(output)
	p, err := Start(command, Handlers{Stdout: stdout.take, Stderr: func([]byte) {}})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the exit", p.Exited())
	return stdout.text()
}

func TestAChildHasTheGivenFolderAndEnvironment(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("OF_THE_HOST", "there")
	script := []string{"/bin/sh", "-c", `printf '%s %s %s' "$(pwd -P)" "$OF_THE_CHILD" "$OF_THE_HOST"`}
	if told := startCommand(t, Command{Args: script, Env: []string{"OF_THE_CHILD=here"}, Dir: dir}); told != dir+" here " {
		t.Errorf("the child wrote %q", told)
	}
	if told := startCommand(t, Command{Args: script, Dir: dir}); told != dir+"  there" {
		t.Errorf("with the host's environment the child wrote %q", told)
	}
}

func TestAStartThatFailsLeavesNoPipeOpen(t *testing.T) {
	const folder = "/proc/self/fd"
	before, err := os.ReadDir(folder)
	if err != nil {
		t.Skip("this system does not list descriptors in /proc")
	}
	for range 50 {
		if _, err := Start(Command{Args: []string{"/nonexistent/program"}}, Handlers{}); err == nil {
			t.Fatal("the program started")
		}
	}
	if after, _ := os.ReadDir(folder); len(after) > len(before)+10 {
		t.Errorf("%d descriptors were open before, and %d afterwards", len(before), len(after))
	}
}

func TestDeadIsClosedWhileAGrandchildHoldsThePipes(t *testing.T) {
	grandchild := make(chan struct{})
	p, err := Start(Command{Args: []string{"/bin/sh", "-c", "exit 3"}}, Handlers{
		Stdout: func([]byte) {}, Stderr: func([]byte) {},
		StdoutEnded: func() { <-grandchild }, // as if the pipe were still open
	})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the death", p.Dead())
	select {
	case <-p.Exited():
		t.Error("Exited was closed before the pipes had ended")
	default:
	}
	close(grandchild)
	await(t, "the exit", p.Exited())
}

func TestAWriteAfterCloseStdinIsDropped(t *testing.T) {
	p, _ := start(t, "cat", Handlers{StdinBroken: func() { t.Error("StdinBroken was called for a pipe that the host closed") }})
	for range 2 {
		p.CloseStdin()
	}
	p.Write([]byte("x"))
	await(t, "the exit", p.Exited())
	p.stdin.mu.Lock()
	defer p.stdin.mu.Unlock()
	if len(p.stdin.queue) != 0 {
		t.Errorf("%q is kept after the close", p.stdin.queue)
	}
}

func TestAPipeThatStaysOpenIsReadUpToALimit(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close() // the end that a grandchild would hold
	r := newPipeReader(reader, func([]byte) {}, func() { t.Error("the end of a pipe that is still open was reported") })
	r.finish(time.Now())
	await(t, "the reader's end", r.ended)
	if _, err := reader.Stat(); err == nil {
		t.Error("the file is still open")
	}
}

func TestAnExitLeavesNoDescriptorOpen(t *testing.T) {
	const folder = "/proc/self/fd"
	before, err := os.ReadDir(folder)
	if err != nil {
		t.Skip("this system does not list descriptors in /proc")
	}
	for range 50 {
		startCommand(t, Command{Args: []string{"/bin/sh", "-c", "exit 0"}})
	}
	if after, _ := os.ReadDir(folder); len(after) > len(before)+10 {
		t.Errorf("%d descriptors were open before, and %d afterwards", len(before), len(after))
	}
}
