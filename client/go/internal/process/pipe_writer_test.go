//go:build linux || darwin

package process

import (
	"os"
	"testing"
)

// newIdleWriter is one whose goroutine has not started: run does it.
func newIdleWriter(t *testing.T, onBroken func()) (w *pipeWriter, reader *os.File) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close(); writer.Close() })
	w = &pipeWriter{file: writer, onBroken: onBroken}
	w.filled.L = &w.mu
	return w, reader
}

func TestNothingIsKeptForAPipeThatWasClosed(t *testing.T) {
	w, _ := newIdleWriter(t, nil)
	w.write([]byte("before"))
	w.close()
	w.write([]byte("after"))
	if len(w.queue) != 0 {
		t.Errorf("%q is kept", w.queue)
	}
	w.run() // ends, with nothing to write
}

func TestAPipeWhoseReaderIsGoneIsToldOnceAndClosed(t *testing.T) {
	told := 0
	w, reader := newIdleWriter(t, func() { told++ })
	reader.Close()
	w.write([]byte("x"))
	w.run()
	if _, err := w.file.Stat(); told != 1 || err == nil {
		t.Errorf("told %d times, and its file: %v", told, err)
	}
	silent, reader := newIdleWriter(t, nil)
	reader.Close()
	silent.write([]byte("x"))
	silent.run() // with nobody to tell
}

func TestAPipeThatItsHostClosedUnderAWriteIsNotBroken(t *testing.T) {
	w, reader := newIdleWriter(t, func() { t.Error("it is said to be broken") })
	w.write(make([]byte, 1<<20)) // more than a pipe holds
	ended := make(chan struct{})
	go func() { defer close(ended); w.run() }()
	if _, err := reader.Read(make([]byte, 1)); err != nil { // it writes
		t.Fatal(err)
	}
	w.close()
	await(t, "the writer's end", ended)
}

func TestAProcessThatHasNotEndedHasNoExitCode(t *testing.T) {
	if state := exitState(nil); state.Code != -1 || state.Signal != 0 {
		t.Errorf("%+v", state)
	}
}
