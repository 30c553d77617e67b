//go:build !nomlxlm

package inference

import (
	"bytes"
	"runtime"
	"strconv"
	"sync"
)

// Theory of operation
//
// TextModel.Err has no parameter, but hosts call it after their own stream and mean that stream. The
// goroutine is all that tells streams apart, so streamErrs keeps a streamErr for each goroutine, and one
// for the model, which answers the goroutines that had no stream.
//
// A stream counts for the goroutine that made it and for the one that reads it. They differ if the
// host reads with iter.Pull, which runs the stream in a goroutine of its own.
//
// Goroutines end without a sign, so the memory is bounded: two generations of at most
// maxGeneration goroutines. A full generation becomes the older one, and the older one is forgotten.

// maxGeneration is how many goroutines a generation has.
const maxGeneration = 512

// streamErrs says how the last streams of a model ended.
type streamErrs struct {
	model streamErr

	mu     sync.Mutex
	recent map[uint64]*streamErr
	older  map[uint64]*streamErr
}

// begin records a stream's start in the calling goroutine. The caller must call end with the stream's
// error or nil.
func (s *streamErrs) begin(maker uint64) (end func(error)) {
	ends := []func(error){s.model.begin()}
	reader := goroutineID()
	ends = append(ends, s.of(reader).begin())
	if maker != reader {
		ends = append(ends, s.of(maker).begin())
	}
	return func(err error) {
		for _, end := range ends {
			end(err)
		}
	}
}

// last returns how the last stream of the calling goroutine ended, or else the model's last.
func (s *streamErrs) last() error {
	s.mu.Lock()
	own, found := s.findLocked(goroutineID())
	s.mu.Unlock()
	if found {
		return own.last()
	}
	return s.model.last()
}

// of returns the record of a goroutine, which may be new.
func (s *streamErrs) of(goroutine uint64) *streamErr {
	s.mu.Lock()
	defer s.mu.Unlock()
	own, found := s.findLocked(goroutine)
	if !found {
		own = new(streamErr)
	}
	if s.recent == nil || len(s.recent) == maxGeneration {
		s.older, s.recent = s.recent, make(map[uint64]*streamErr)
	}
	s.recent[goroutine] = own
	return own
}

func (s *streamErrs) findLocked(goroutine uint64) (own *streamErr, found bool) {
	if own, found = s.recent[goroutine]; !found {
		own, found = s.older[goroutine]
	}
	return own, found
}

// goroutineID returns the number of the calling goroutine, which no other goroutine ever has. The
// runtime offers it only as the first line of a stack trace, "goroutine 18 [running]:". It returns 0
// if that line changes, and all goroutines then share one record.
func goroutineID() uint64 {
	var trace [64]byte
	text := trace[:runtime.Stack(trace[:], false)]
	number, _, _ := bytes.Cut(bytes.TrimPrefix(text, []byte("goroutine ")), []byte{' '})
	id, _ := strconv.ParseUint(string(number), 10, 64)
	return id
}

// streamErr says how the last of several streams ended, which may run at the same time. A failure stays
// until a stream succeeds that began after it. Neither the start of another stream nor the end of one
// that ran at the same time hides a failure.
type streamErr struct {
	mu       sync.Mutex
	err      error
	failures int // how many streams have failed
}

// begin records a stream's start. The caller must call end with the stream's error or nil.
func (s *streamErr) begin() (end func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.failures
	return func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case err != nil:
			s.err = err
			s.failures++
		case s.failures == before:
			s.err = nil
		}
	}
}

func (s *streamErr) last() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
