package process

import (
	"bytes"
	"strings"
	"sync"
)

const (
	// DefaultRingBytes is how many bytes of stderr a connection keeps.
	DefaultRingBytes = 64 * 1024
	// maxLogLineBytes is the length at which a line is cut into pieces for the listener.
	maxLogLineBytes = 16 * 1024
)

// A StderrRing keeps the last bytes of a child's stderr in bounded memory, and hands lines to a
// listener. It keeps bytes and not lines, so that output without a newline can't make it grow.
type StderrRing struct {
	onLine  func(string)
	partial []byte // the unfinished line for onLine; only the goroutine that writes uses it

	mu   sync.Mutex
	ring []byte
	next int // the index of the oldest byte once the ring is full
	full bool
}

// NewStderrRing returns a ring of size bytes. If onLine is not nil, the goroutine that writes calls
// it with each line, without the line's end.
func NewStderrRing(size int, onLine func(string)) *StderrRing {
	return &StderrRing{onLine: onLine, ring: make([]byte, size)}
}

// Size returns how many bytes the ring keeps.
func (r *StderrRing) Size() int { return len(r.ring) }

// Write takes bytes as they arrive. It never fails.
func (r *StderrRing) Write(chunk []byte) (int, error) {
	r.keep(chunk)
	if r.onLine != nil {
		r.split(chunk)
	}
	return len(chunk), nil
}

// End hands on an unfinished last line. Call it when no more bytes will arrive.
func (r *StderrRing) End() {
	if len(r.partial) > 0 {
		r.emit(r.partial)
		r.partial = nil
	}
}

// Tail returns the last bytes that were written, at most limit. A character that was cut is replaced
// by U+FFFD.
func (r *StderrRing) Tail(limit int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := r.ring[:r.next]
	if r.full {
		kept = append(bytes.Clone(r.ring[r.next:]), kept...)
	}
	return strings.ToValidUTF8(string(kept[max(0, len(kept)-limit):]), "\uFFFD")
}

func (r *StderrRing) keep(chunk []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(chunk) > 0 {
		n := copy(r.ring[r.next:], chunk)
		chunk = chunk[n:]
		r.next += n
		if r.next == len(r.ring) {
			r.next, r.full = 0, true
		}
	}
}

func (r *StderrRing) split(chunk []byte) {
	for {
		line, rest, ended := bytes.Cut(chunk, []byte{'\n'})
		r.partial = append(r.partial, line...)
		for len(r.partial) > maxLogLineBytes {
			r.emit(r.partial[:maxLogLineBytes])
			r.partial = r.partial[maxLogLineBytes:]
		}
		if !ended {
			return
		}
		r.emit(r.partial)
		r.partial = r.partial[:0]
		chunk = rest
	}
}

func (r *StderrRing) emit(line []byte) {
	line = bytes.TrimSuffix(line, []byte{'\r'})
	r.onLine(strings.ToValidUTF8(string(line), "\uFFFD"))
}
