package process

import (
	"slices"
	"strings"
	"testing"
)

func TestTheRingKeepsTheTailInChunksOfAnySize(t *testing.T) {
	text := strings.Repeat("0123456789", 10)
	for size := 1; size <= len(text)+1; size++ {
		ring := NewStderrRing(16, nil)
		for piece := range slices.Chunk([]byte(text), size) {
			if n, err := ring.Write(piece); n != len(piece) || err != nil {
				t.Fatal(n, err)
			}
		}
		if tail := ring.Tail(16); tail != text[len(text)-16:] {
			t.Errorf("written in pieces of %d, the tail is %q", size, tail)
		}
		if tail := ring.Tail(3); tail != "789" {
			t.Errorf("the last 3 bytes are %q", tail)
		}
	}
}

func TestARingThatIsNotFullReturnsAllThatWasWritten(t *testing.T) {
	ring := NewStderrRing(16, nil)
	_, _ = ring.Write([]byte("abc"))
	if tail := ring.Tail(16); tail != "abc" || len(ring.ring) != ring.Size() {
		t.Errorf("the tail is %q", tail)
	}
}

func TestACharacterThatWasCutIsReplaced(t *testing.T) {
	ring := NewStderrRing(16, nil)
	_, _ = ring.Write([]byte("xé"))
	if tail := ring.Tail(1); tail != "\uFFFD" {
		t.Errorf("the tail is %q", tail)
	}
}

func TestTheListenerReceivesLinesAndLongOnesInPieces(t *testing.T) {
	var lines []string
	ring := NewStderrRing(16, func(line string) { lines = append(lines, line) })
	long := strings.Repeat("x", maxLogLineBytes+1)
	for _, chunk := range []string{"a", "b\r\n\nc\nd", long, "\nl\xffst"} {
		_, _ = ring.Write([]byte(chunk))
	}
	ring.End()
	ring.End()
	want := []string{"ab", "", "c", ("d" + long)[:maxLogLineBytes], ("d" + long)[maxLogLineBytes:], "l\uFFFDst"}
	if !slices.Equal(lines, want) {
		t.Errorf("the lines are %.100q", lines)
	}
}

func TestOutputWithoutALineEndDoesNotGrowTheRing(t *testing.T) {
	ring := NewStderrRing(1<<10, func(string) {})
	for range 1000 {
		_, _ = ring.Write([]byte(strings.Repeat("x", 10_000)))
	}
	if cap(ring.partial) > 4*maxLogLineBytes || len(ring.ring) != 1<<10 {
		t.Errorf("the ring holds a partial line of %d bytes, and %d bytes", cap(ring.partial), len(ring.ring))
	}
}
