//go:build !nomlxlm

package inference

import "sync"

// streamErr is how the last stream ended, for a model whose streams may run together. What
// fails stays told until a stream ends well that began after it: neither the start of another
// nor the end of one that ran beside it hides a failure.
type streamErr struct {
	mu       sync.Mutex
	err      error
	failures int // so far
}

// begin notes a stream's start. end has to be called with what it ended with.
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
