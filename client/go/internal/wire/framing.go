package wire

import (
	"bytes"
	"iter"
)

// DefaultMaxLineBytes is the length of the longest line unless hello sets another (SPEC §1.4).
const DefaultMaxLineBytes = 16 * 1024 * 1024

// prefixBytes is how much of a discarded line a Line holds, in every language (testdata/framing).
const prefixBytes = 512

// A Line is one line without its end. If TooLong is set, the line passed the limit and Bytes holds
// at most its first 512 bytes.
type Line struct {
	Bytes   []byte
	TooLong bool
}

// LineSplitter cuts a byte stream into lines at byte 0x0A and nothing else (SPEC §1). It strips one
// 0x0D before the end and drops blank lines. It throws away a line that grows past MaxLineBytes,
// up to its end, and reports it once.
type LineSplitter struct {
	MaxLineBytes int // counted without the 0x0A and the 0x0D that is stripped

	tail       []byte
	discarding bool
}

// NewLineSplitter returns a splitter for lines of at most maxLineBytes.
func NewLineSplitter(maxLineBytes int) *LineSplitter {
	return &LineSplitter{MaxLineBytes: maxLineBytes}
}

// Feed takes the next bytes and yields the lines that they complete. A line is valid until the next
// step only, because it may share memory with chunk. Leaving the loop early loses the lines that
// were not yielded.
func (s *LineSplitter) Feed(chunk []byte) iter.Seq[Line] {
	return func(yield func(Line) bool) {
		for {
			end := bytes.IndexByte(chunk, '\n')
			if end < 0 {
				s.hold(chunk)
				return
			}
			piece := chunk[:end]
			chunk = chunk[end+1:]
			overlong := false
			if len(s.tail) > 0 || s.discarding {
				s.hold(piece)
				piece, overlong = s.tail, s.discarding
				s.tail, s.discarding = s.tail[:0], false
			}
			if line, ok := s.judge(piece, overlong); ok && !yield(line) {
				return
			}
		}
	}
}

// End returns the last line of the stream if it has no 0x0A. It returns false if there is none.
func (s *LineSplitter) End() (Line, bool) {
	line, ok := s.judge(s.tail, s.discarding)
	s.tail, s.discarding = nil, false
	return line, ok
}

// hold appends to the unfinished line. Past the limit it keeps the line's beginning only. It keeps
// one byte more than each limit, because a 0x0D at the end is not counted.
func (s *LineSplitter) hold(piece []byte) {
	if s.discarding {
		room := prefixBytes + 1 - len(s.tail)
		piece = piece[:min(len(piece), max(room, 0))]
	}
	s.tail = append(s.tail, piece...)
	if !s.discarding && len(s.tail) > s.MaxLineBytes+1 {
		s.discarding = true
		// The copy lets the long line's memory go.
		s.tail = bytes.Clone(s.tail[:min(len(s.tail), prefixBytes+1)])
	}
}

// judge makes a Line of a line's bytes, or of the beginning of a line that is too long. It returns
// false for a blank line.
func (s *LineSplitter) judge(piece []byte, overlong bool) (Line, bool) {
	if n := len(piece); n > 0 && piece[n-1] == '\r' {
		piece = piece[:n-1]
	}
	if overlong || len(piece) > s.MaxLineBytes {
		return Line{Bytes: piece[:min(len(piece), prefixBytes)], TooLong: true}, true
	}
	return Line{Bytes: piece}, !isBlank(piece)
}

func isBlank(line []byte) bool {
	for _, b := range line {
		if b != ' ' && b != '\t' && b != '\r' {
			return false
		}
	}
	return true
}
