package process

import (
	"os"
	"os/exec"
	"sync"
	"time"
)

// A Command says what to start.
type Command struct {
	Args []string
	Env  []string // the whole environment; nil is the host's own
	Dir  string
}

// Handlers hear what a child does. Each is called by one goroutine, none after Exited is closed.
type Handlers struct {
	// Stdout and Stderr take what the child writes; the bytes are valid during the call only.
	Stdout, Stderr func(chunk []byte)
	// StdoutEnded is called at stdout's end, also where the child lives on; not where a
	// grandchild holds it open.
	StdoutEnded func()
	// StdinBroken is called when the child no longer reads.
	StdinBroken func()
}

// A Process is one child.
type Process struct {
	cmd    *exec.Cmd
	group  group
	stdin  *pipeWriter
	stdout *pipeReader
	stderr *pipeReader
	dead   chan struct{}
	exited chan struct{}

	mu     sync.Mutex // held while a signal is sent, and while the child is reaped
	reaped bool
}

// Start spawns a child. The error is the system's.
func Start(command Command, handlers Handlers) (*Process, error) {
	cmd := exec.Command(command.Args[0], command.Args[1:]...)
	cmd.Env, cmd.Dir = command.Env, command.Dir
	cmd.SysProcAttr = groupAttributes()
	theirs, ours, err := openPipes()
	if err != nil {
		return nil, err
	}
	// Files, and not readers: exec then needs no goroutine of its own, and its Wait waits for
	// the process alone.
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs.stdin, theirs.stdout, theirs.stderr
	err = cmd.Start()
	theirs.close()
	if err != nil {
		ours.close()
		return nil, err
	}
	p := &Process{
		cmd:    cmd,
		group:  newGroup(cmd.Process),
		stdin:  newPipeWriter(ours.stdin, handlers.StdinBroken),
		stdout: newPipeReader(ours.stdout, handlers.Stdout, handlers.StdoutEnded),
		stderr: newPipeReader(ours.stderr, handlers.Stderr, nil),
		dead:   make(chan struct{}),
		exited: make(chan struct{}),
	}
	go p.watch()
	return p, nil
}

// PID is the child's process id, also after its end.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Write queues bytes for the child's stdin, in order. It never waits; what is written after the
// end is dropped, for the exit tells why.
func (p *Process) Write(line []byte) { p.stdin.write(line) }

// CloseStdin gives the child the end of its input; what is still queued is dropped.
func (p *Process) CloseStdin() { p.stdin.close() }

// Terminate asks the whole group to end.
func (p *Process) Terminate() { p.signal(group.terminate) }

// Kill ends the whole group.
func (p *Process) Kill() { p.signal(group.kill) }

// Dead is closed as soon as the child has ended; what it wrote last may still have to come.
func (p *Process) Dead() <-chan struct{} { return p.dead }

// Exited is closed once the child has ended and all that it wrote has been handed on.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// ExitState tells how it ended, once Exited is closed.
func (p *Process) ExitState() ExitState { return exitState(p.cmd.ProcessState) }

func (p *Process) signal(send func(group)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		send(p.group)
	}
}

func (p *Process) watch() {
	awaitExit(p.cmd.Process)
	p.reap()
	close(p.dead)
	p.stdin.close()
	last := time.Now().Add(drainLimit)
	p.stdout.finish(last)
	p.stderr.finish(last)
	close(p.exited)
}

// reap kills what is left of the group while its number still is the child's own.
func (p *Process) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.group.kill()
	// Its error says that the exit code was not 0, which ExitState tells.
	_ = p.cmd.Wait()
	p.group.release()
	p.reaped = true
}

// ends are one side of the child's three pipes.
type ends struct {
	stdin, stdout, stderr *os.File
}

func openPipes() (theirs, ours ends, err error) {
	open := func(reader, writer **os.File) {
		if err == nil {
			*reader, *writer, err = os.Pipe()
		}
	}
	open(&theirs.stdin, &ours.stdin)
	open(&ours.stdout, &theirs.stdout)
	open(&ours.stderr, &theirs.stderr)
	if err != nil {
		theirs.close()
		ours.close()
	}
	return theirs, ours, err
}

func (e ends) close() {
	for _, file := range []*os.File{e.stdin, e.stdout, e.stderr} {
		if file != nil {
			file.Close()
		}
	}
}

// ExitState is how a process ended: with a code, or by a signal.
type ExitState struct {
	Code   int    // -1 where a signal ended it
	Signal int    // 0 where none did
	Name   string // the signal's, such as "killed"
}

func exitState(state *os.ProcessState) ExitState {
	if state == nil {
		return ExitState{Code: -1}
	}
	number, name := endingSignal(state)
	return ExitState{Code: state.ExitCode(), Signal: number, Name: name}
}
