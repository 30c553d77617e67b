package wire

import (
	"bytes"
	"iter"
)

// DefaultMaxLineBytes is the longest line unless hello says otherwise (SPEC §1.4).
const DefaultMaxLineBytes = 16 * 1024 * 1024

// prefixBytes is how much of a discarded line is kept, so that its id can be recovered.
const prefixBytes = 512

// A Line is one line without its end. Where TooLong is set, Bytes holds no more than the
// first 512 bytes of a line that passed the limit.
type Line struct {
	Bytes   []byte
	TooLong bool
}

// LineSplitter cuts a byte stream into lines at byte 0x0A and nothing else (SPEC §1).
// One 0x0D before the end is stripped and blank lines are dropped. A line that grows past
// MaxLineBytes is thrown away up to its end and reported once.
type LineSplitter struct {
	MaxLineBytes int // of a line without its 0x0A and the 0x0D that is stripped

	tail       []byte
	discarding bool
}

// NewLineSplitter returns a splitter with a limit in bytes.
func NewLineSplitter(maxLineBytes int) *LineSplitter {
	return &LineSplitter{MaxLineBytes: maxLineBytes}
}

// Feed takes the next bytes and yields the lines that they complete. A line is valid until
// the next step only: it may share its memory with chunk. All of chunk is taken, also where
// the loop is left early; the lines not yielded are lost then.
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

// End gives the unterminated last line at the end of the stream, which is a line too.
func (s *LineSplitter) End() (Line, bool) {
	line, ok := s.judge(s.tail, s.discarding)
	s.tail, s.discarding = nil, false
	return line, ok
}

// hold appends to the unfinished line; past the limit it keeps only the line's beginning.
// One byte more than each limit is kept, since a trailing 0x0D is not counted.
func (s *LineSplitter) hold(piece []byte) {
	if s.discarding {
		room := prefixBytes + 1 - len(s.tail)
		piece = piece[:min(len(piece), max(room, 0))]
	}
	s.tail = append(s.tail, piece...)
	if !s.discarding && len(s.tail) > s.MaxLineBytes+1 {
		s.discarding = true
		// A copy, so that the long line's memory is given back.
		s.tail = bytes.Clone(s.tail[:min(len(s.tail), prefixBytes+1)])
	}
}

// judge makes a line of its bytes, or of what was kept of one that is too long.
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
