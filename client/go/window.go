package mlxwire

import "math"

const (
	// largestWindow is how many messages of one stream may be on their way. It bounds what a
	// consumer that sleeps costs, and is large enough that one that is awake never waits.
	largestWindow = 4096
	// windowMessageBytes is what a message of a window is taken to need of the buffer.
	windowMessageBytes = 256
)

// windowSize is how many messages may be on their way into a buffer.
func windowSize(asked, bufferBytes int) int {
	return min(asked, max(1, bufferBytes/windowMessageBytes))
}

// A window counts what a consumer has taken, and says when to grant credit for as much more
// (SPEC §4.10): at each half window, so that the worker never runs dry.
type window struct {
	step    int
	taken   int
	granted int
	due     int
}

// newWindow counts for a window of that size; 0 is for a worker that knows none.
func newWindow(size int) window {
	if size == 0 {
		return window{due: math.MaxInt}
	}
	step := max(1, size/2)
	return window{step: step, due: step}
}

// take counts one message, and returns how much credit to grant now, mostly 0.
func (w *window) take() int {
	w.taken++
	if w.taken < w.due {
		return 0
	}
	credit := w.taken - w.granted
	w.granted = w.taken
	w.due = w.taken + w.step
	return credit
}
