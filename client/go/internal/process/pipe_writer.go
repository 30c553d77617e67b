package process

import (
	"os"
	"sync"
)

// A pipeWriter writes whole lines in the order in which they were given. Callers of write never
// wait: one goroutine owns the pipe and joins all queued lines into one write.
type pipeWriter struct {
	file     *os.File
	onBroken func()

	mu     sync.Mutex
	filled sync.Cond // signalled when the queue receives a line and when the writer is closed
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

// close drops queued lines and closes the pipe, even during a write that blocks: run holds no lock
// while it writes.
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
		// os.File repeats short writes itself.
		if _, err := w.file.Write(lines); err != nil {
			if w.breakOff() && w.onBroken != nil {
				w.onBroken()
			}
			return
		}
	}
}

// next waits for queued lines. It returns false once the writer is closed.
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

// breakOff closes the writer after a failed write. It returns false if the host had closed it before.
func (w *pipeWriter) breakOff() bool {
	w.mu.Lock()
	closed := w.closed
	w.mu.Unlock()
	w.close()
	return !closed
}
