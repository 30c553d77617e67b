package process

import (
	"bytes"
	"strings"
	"sync"
)

const (
	// DefaultRingBytes is how much of stderr is kept.
	DefaultRingBytes = 64 * 1024
	// maxLogLineBytes cuts a longer line into pieces for the listener.
	maxLogLineBytes = 16 * 1024
)

// A StderrRing keeps the tail of a child's stderr in bounded memory, and hands its lines to
// whoever listens. It is a ring of bytes: output without a newline may not grow it.
type StderrRing struct {
	onLine  func(string)
	partial []byte // of a line, for onLine; touched by the writer alone

	mu   sync.Mutex
	ring []byte
	next int // where the oldest byte is, once the ring is full
	full bool
}

// NewStderrRing returns a ring of that many bytes. onLine, if there is one, is called for each
// line, without its end, by the goroutine that writes.
func NewStderrRing(size int, onLine func(string)) *StderrRing {
	return &StderrRing{onLine: onLine, ring: make([]byte, size)}
}

// Size is how many bytes are kept.
func (r *StderrRing) Size() int { return len(r.ring) }

// Write takes bytes as they arrive. It never fails.
func (r *StderrRing) Write(chunk []byte) (int, error) {
	r.keep(chunk)
	if r.onLine != nil {
		r.split(chunk)
	}
	return len(chunk), nil
}

// End hands on an unfinished line: no more will come.
func (r *StderrRing) End() {
	if len(r.partial) > 0 {
		r.emit(r.partial)
		r.partial = nil
	}
}

// Tail is the last that was written, limit bytes at most; a character that was cut is replaced.
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
