package process

import (
	"errors"
	"os"
	"time"
)

const (
	readBytes = 64 * 1024
	// drainLimit is how long the pipes of a child that has ended are read at most: a grandchild
	// outside the group may hold them open, and write for ever.
	drainLimit = 500 * time.Millisecond
)

// A pipeReader hands on all that arrives at a pipe, at once and for as long as it is open.
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
			return
		case err != nil:
			if atEnd != nil {
				atEnd()
			}
			return
		}
	}
}

// finish takes what the pipe of an ended child still holds, until last, and closes it.
func (r *pipeReader) finish(last time.Time) {
	if r.file.SetReadDeadline(last) == nil {
		<-r.ended
		r.file.Close()
		return
	}
	// Windows' pipes know no deadlines; one that a grandchild holds is left to its reader.
	select {
	case <-r.ended:
		r.file.Close()
	case <-time.After(time.Until(last)):
	}
}
