//go:build !nomlxlm

package inference

import (
	"context"
	"sync"
)

// inFlight knows the requests in flight to which the host has given an id.
type inFlight struct {
	mu      sync.Mutex
	cancels map[string]map[*context.CancelFunc]struct{}
}

// begin records a request if its context names an id. The caller must call end when the request has
// ended.
func (f *inFlight) begin(ctx context.Context) (limited context.Context, end func()) {
	id := requestID(ctx)
	if id == "" {
		return ctx, func() {}
	}
	limited, cancel := context.WithCancel(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cancels == nil {
		f.cancels = make(map[string]map[*context.CancelFunc]struct{})
	}
	if f.cancels[id] == nil {
		f.cancels[id] = make(map[*context.CancelFunc]struct{})
	}
	f.cancels[id][&cancel] = struct{}{}
	return limited, func() {
		cancel()
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.cancels[id], &cancel)
		if len(f.cancels[id]) == 0 {
			delete(f.cancels, id)
		}
	}
}

// cancel ends the requests with an id. It returns false if there are none.
func (f *inFlight) cancel(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for cancel := range f.cancels[id] {
		(*cancel)()
	}
	return len(f.cancels[id]) > 0
}
