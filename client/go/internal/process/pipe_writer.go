package process

import (
	"os"
	"sync"
)

// A pipeWriter writes whole lines in the order given. Whoever writes never waits: one goroutine
// owns the pipe, and joins all that is queued into one write.
type pipeWriter struct {
	file     *os.File
	onBroken func()

	mu     sync.Mutex
	filled sync.Cond // signalled when the queue is filled, or closed
	queue  []byte
	closed bool
}

func newPipeWriter(file *os.File, onBroken func()) *pipeWriter {
	w := &pipeWriter{file: file, onBroken: onBroken}
	w.filled.L = &w.mu
	go w.run()
	return w
}

func (w *pipeWriter) write(line []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.queue = append(w.queue, line...)
		w.filled.Signal()
	}
}

// close drops what is queued and closes the pipe, also under a write that is blocked. It takes
// no lock that a write holds.
func (w *pipeWriter) close() {
	w.mu.Lock()
	closed := w.closed
	w.closed, w.queue = true, nil
	w.filled.Signal()
	w.mu.Unlock()
	if !closed {
		w.file.Close()
	}
}

func (w *pipeWriter) run() {
	for {
		lines, ok := w.next()
		if !ok {
			return
		}
		// os.File loops on short writes.
		if _, err := w.file.Write(lines); err != nil {
			if w.breakOff() && w.onBroken != nil {
				w.onBroken()
			}
			return
		}
	}
}

// next waits for lines; false once the pipe is closed.
func (w *pipeWriter) next() ([]byte, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) == 0 && !w.closed {
		w.filled.Wait()
	}
	lines := w.queue
	w.queue = nil
	return lines, !w.closed
}

// breakOff closes after a failed write; false where the host had closed before.
func (w *pipeWriter) breakOff() bool {
	w.mu.Lock()
	closed := w.closed
	w.mu.Unlock()
	w.close()
	return !closed
}
