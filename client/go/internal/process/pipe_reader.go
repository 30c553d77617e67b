package process

import (
	"errors"
	"os"
	"time"
)

const (
	readBytes = 64 * 1024
	// drainLimit bounds how long the pipes of a child that has ended are read. A grandchild outside
	// the group may hold them open and write forever.
	drainLimit = 500 * time.Millisecond
	// lastReads bounds how often a pipe is read once more after that. What a child wrote before its
	// end lies there: a host that was stopped meanwhile, or is slow, must not lose it.
	lastReads = 64
)

// A pipeReader hands on everything that arrives at a pipe until the pipe ends. It never waits for
// anything but the pipe, so the child can always write.
type pipeReader struct {
	file  *os.File
	ended chan struct{}
}

func newPipeReader(file *os.File, take func([]byte), atEnd func()) *pipeReader {
	r := &pipeReader{file: file, ended: make(chan struct{})}
	go r.read(take, atEnd)
	return r
}

func (r *pipeReader) read(take func([]byte), atEnd func()) {
	defer close(r.ended)
	buffer := make([]byte, readBytes)
	for {
		n, err := r.file.Read(buffer)
		if n > 0 {
			take(buffer[:n])
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			r.readRest(take, buffer)
			return
		case err != nil:
			if atEnd != nil {
				atEnd()
			}
			return
		}
	}
}

// readRest hands on what the pipe holds now, and does not wait for more.
func (r *pipeReader) readRest(take func([]byte), buffer []byte) {
	_ = r.file.SetReadDeadline(time.Time{}) // an expired one forbids every read
	for range lastReads {
		n := readNow(r.file, buffer)
		if n <= 0 {
			return
		}
		take(buffer[:n])
	}
}

// finish reads what the pipe of an ended child still holds, waits for more at most until last, and
// closes the pipe.
func (r *pipeReader) finish(last time.Time) {
	if r.file.SetReadDeadline(last) == nil {
		<-r.ended
		r.file.Close()
		return
	}
	// Pipes of Windows have no deadlines. A pipe that a grandchild holds open stays with its reader.
	select {
	case <-r.ended:
		r.file.Close()
	case <-time.After(time.Until(last)):
	}
}
