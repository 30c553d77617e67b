//go:build linux || darwin

package process

import (
	"os"
	"testing"
)

// newIdleWriter returns a writer whose goroutine was not started; tests call run themselves.
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

func TestAClosedWriterKeepsNoBytes(t *testing.T) {
	w, _ := newIdleWriter(t, nil)
	w.write([]byte("before"))
	w.close()
	w.write([]byte("after"))
	if len(w.queue) != 0 {
		t.Errorf("%q is kept after the close", w.queue)
	}
	w.run() // returns, because nothing is left to write
}

func TestAPipeWithoutAReaderIsReportedOnceAndClosed(t *testing.T) {
	told := 0
	w, reader := newIdleWriter(t, func() { told++ })
	reader.Close()
	w.write([]byte("x"))
	w.run()
	if _, err := w.file.Stat(); told != 1 || err == nil {
		t.Errorf("onBroken was called %d times, and the file has the state %v", told, err)
	}
	silent, reader := newIdleWriter(t, nil)
	reader.Close()
	silent.write([]byte("x"))
	silent.run() // there is no handler to call
}

func TestAPipeThatTheHostClosesDuringAWriteIsNotBroken(t *testing.T) {
	w, reader := newIdleWriter(t, func() { t.Error("onBroken was called although the host closed the pipe") })
	w.write(make([]byte, 1<<20)) // more than a pipe holds
	ended := make(chan struct{})
	go func() { defer close(ended); w.run() }()
	if _, err := reader.Read(make([]byte, 1)); err != nil { // the writer has begun to write
		t.Fatal(err)
	}
	w.close()
	await(t, "the writer's end", ended)
}

func TestAProcessThatHasNotEndedHasNoExitCode(t *testing.T) {
	if state := exitState(nil); state.Code != -1 || state.Signal != 0 {
		t.Errorf("the exit state is %+v", state)
	}
}
