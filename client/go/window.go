package mlxwire

import "math"

const (
	// largestWindow is how many messages of one stream the worker may send ahead. It bounds the
	// memory of a consumer that stops, and is large enough that a consumer that reads never waits.
	largestWindow = 4096
	// windowMessageBytes is how many bytes of the buffer a message is assumed to need.
	windowMessageBytes = 256
)

// windowSize returns the size of a window whose messages fit into a buffer. The wire's integers end
// below 2^53.
func windowSize(asked, bufferBytes int) int {
	return min(asked, max(1, bufferBytes/windowMessageBytes), math.MaxInt32)
}

// A window counts the messages that a consumer has taken, and says when to grant credit for as
// many more (SPEC §4.10). It grants at each half window, so that the worker always has credit.
type window struct {
	step    int
	taken   int
	granted int
	due     int
}

// newWindow returns a window of that many messages. Size 0 is for a worker without windows: no
// credit is ever due.
func newWindow(size int) window {
	if size == 0 {
		return window{due: math.MaxInt}
	}
	step := max(1, size/2)
	return window{step: step, due: step}
}

// take counts one message. It returns how much credit to grant now, which is 0 most of the time.
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
