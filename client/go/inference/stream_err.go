//go:build !nomlxlm

package inference

import "sync"

// streamErr says how the last stream ended, for a model whose streams may run at the same time. A
// failure stays until a stream succeeds that began after it. Neither the start of another stream nor
// the end of one that ran at the same time hides a failure.
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
