//go:build linux || darwin

package process

import (
	"os"
	"testing"
	"time"
)

func TestWhatAChildWroteBeforeItsEndIsReadHoweverLateTheHostIs(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close() // a grandchild holds it
	taken, begun, goOn := 0, make(chan struct{}), make(chan struct{})
	r := newPipeReader(reader, func(chunk []byte) {
		if taken == 0 {
			close(begun)
			<-goOn
		}
		taken += len(chunk)
	}, nil)
	write := func(count int) {
		if _, err := writer.Write(make([]byte, count)); err != nil {
			t.Error(err)
		}
	}
	write(1)
	await(t, "the first byte", begun)
	write(50_000)
	finished := make(chan struct{})
	go func() { defer close(finished); r.finish(time.Now().Add(-time.Second)) }()
	if r.file.SetReadDeadline(time.Now().Add(-time.Second)) != nil {
		t.Fatal("the pipe has no deadlines")
	}
	close(goOn)
	await(t, "the end of the reader", finished)
	if taken != 50_001 {
		t.Errorf("%d bytes of 50001 were handed on", taken)
	}
}
