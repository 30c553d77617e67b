// Package process runs one child process: it starts it in a process group of its own, always reads
// its pipes, and notices its death.
//
// # Theory of operation
//
// Each Process has these goroutines:
//
//   - watch waits for the child's exit, reaps it, and then ends the others;
//   - two pipeReaders, one for stdout and one for stderr, hand on chunks as they arrive;
//   - a pipeWriter owns stdin. Callers of Write queue bytes and never wait.
//
// Death means the exit of the process and not the end of its pipes, because a grandchild may hold
// them open (golang#23019). The order of events at a death: awaitExit returns while the child is
// still a zombie, so that its pid can't be given to another process; reap kills the rest of the
// group and then reaps the child (Dead); the readers have until drainLimit to hand on what the
// pipes still hold (Exited). No Handler is called after Exited is closed.
//
// Invariant: no signal goes to a pid that was reaped (go-plugin#320). mu is held while a signal is
// sent and while the child is reaped, and reaped forbids signals from then on. A host that ignores
// SIGCHLD, or waits for any child, reaps behind this package's back: the exit status is lost then
// (ExitState.Unknown), and the group is signalled by the child's pidfd or not at all.
//
// Hazard: on Windows pipes have no read deadlines, so the reader of a pipe that a grandchild holds
// open outlives its Process.
package process

import (
	"os"
	"os/exec"
	"sync"
	"time"
)

// A Command describes the process to start.
type Command struct {
	Args []string
	Env  []string // the whole environment; nil means the host's
	Dir  string
}

// Handlers receive a child's output and the ends of its pipes. One goroutine calls each handler;
// none is called after Exited is closed.
type Handlers struct {
	// Stdout and Stderr receive what the child writes. The bytes are valid during the call only.
	Stdout, Stderr func(chunk []byte)
	// StdoutEnded is called when stdout ends, even if the child lives on. It is not called if a
	// grandchild holds the pipe open.
	StdoutEnded func()
	// StdinBroken is called when a write fails because the child has closed its stdin.
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
	var spawned spawning
	cmd.SysProcAttr = spawned.attributes()
	theirs, ours, err := openPipes()
	if err != nil {
		return nil, err
	}
	// These are files and not readers, so exec starts no goroutines and Wait waits for the process
	// alone.
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs.stdin, theirs.stdout, theirs.stderr
	err = cmd.Start()
	theirs.close()
	if err != nil {
		ours.close()
		return nil, err
	}
	p := &Process{
		cmd:    cmd,
		group:  spawned.group(cmd.Process),
		stdin:  newPipeWriter(ours.stdin, handlers.StdinBroken),
		stdout: newPipeReader(ours.stdout, handlers.Stdout, handlers.StdoutEnded),
		stderr: newPipeReader(ours.stderr, handlers.Stderr, nil),
		dead:   make(chan struct{}),
		exited: make(chan struct{}),
	}
	go p.watch()
	return p, nil
}

// PID returns the child's process id. It stays the same after the child has ended.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Write queues bytes for the child's stdin, in order, and never waits. Bytes that are written after
// the child's end are dropped; the exit explains that better than an error of the write.
func (p *Process) Write(line []byte) { p.stdin.write(line) }

// CloseStdin closes the child's stdin. Bytes that are still queued are dropped.
func (p *Process) CloseStdin() { p.stdin.close() }

// Terminate asks the whole process group to end (SIGTERM).
func (p *Process) Terminate() { p.signal(group.terminate) }

// Kill ends the whole process group (SIGKILL).
func (p *Process) Kill() { p.signal(group.kill) }

// Dead returns a channel that is closed when the child has exited. Its last output may still arrive.
func (p *Process) Dead() <-chan struct{} { return p.dead }

// Exited returns a channel that is closed when the child has exited and all its output has been
// handed on.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// ExitState returns how the child ended. Call it after Exited is closed.
func (p *Process) ExitState() ExitState { return exitState(p.cmd.ProcessState) }

func (p *Process) signal(send func(group)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		send(p.group)
	}
}

func (p *Process) watch() {
	p.reap(p.group.awaitExit())
	close(p.dead)
	p.stdin.close()
	last := time.Now().Add(drainLimit)
	p.stdout.finish(last)
	p.stderr.finish(last)
	close(p.exited)
}

// reap kills the rest of the group while the group's number still belongs to the child. The child is
// not ours if another part of the host has reaped it.
func (p *Process) reap(ours bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.group.killRest(ours)
	// The error says that the exit code was not 0, which ExitState has, or that the status is lost.
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

// ExitState says how a process ended: with an exit code or by a signal.
type ExitState struct {
	Unknown bool   // another part of the host has reaped the process
	Code    int    // -1 if a signal ended the process, or if the state is unknown
	Signal  int    // 0 if no signal ended the process
	Name    string // the signal's name, such as "killed"
}

func exitState(state *os.ProcessState) ExitState {
	if state == nil {
		return ExitState{Unknown: true, Code: -1}
	}
	number, name := endingSignal(state)
	return ExitState{Code: state.ExitCode(), Signal: number, Name: name}
}
