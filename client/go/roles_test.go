//go:build unix

package mlxwire

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// These roles are workers that misbehave in ways that need a real process.

var roles = map[string]func(){
	"burst":    burst,
	"deaf":     beDeaf,
	"hang up":  hangUp,
	"holder":   holdPipes,
	"in group": sleepInGroup,
}

// beDeaf reads nothing, ignores SIGTERM, and never ends.
func beDeaf() {
	signal.Ignore(syscall.SIGTERM)
	liveOn()
}

// hangUp closes its stdout and does not exit.
func hangUp() {
	os.Stdout.Close()
	_, _ = os.Stdin.Read(make([]byte, 1)) // reads hello, and ignores everything after it
	liveOn()
}

// liveOn never returns. It sleeps, because the runtime reports a program that only blocks as deadlocked.
func liveOn() {
	for {
		time.Sleep(time.Hour)
	}
}

// holdPipes exits with 7 and leaves its pipes to a grandchild outside its group.
func holdPipes() {
	startGrandchild(&syscall.SysProcAttr{Setsid: true})
	os.Exit(7)
}

// sleepInGroup exits with 8 and leaves a grandchild in its group.
func sleepInGroup() {
	startGrandchild(nil)
	os.Exit(8)
}

// startGrandchild starts a process that holds this one's pipes, and writes its pid to stderr.
func startGrandchild(attributes *syscall.SysProcAttr) {
	grandchild := exec.Command("sleep", "600")
	grandchild.Stdin, grandchild.Stdout, grandchild.Stderr = os.Stdin, os.Stdout, os.Stderr
	grandchild.SysProcAttr = attributes
	if err := grandchild.Start(); err != nil {
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "grandchild", grandchild.Process.Pid)
}
