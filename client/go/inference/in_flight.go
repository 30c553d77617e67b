//go:build !nomlxlm

package inference

import (
	"context"
	"sync"
)

// inFlight knows the requests that were given an id by their host.
type inFlight struct {
	mu      sync.Mutex
	cancels map[string]map[*context.CancelFunc]struct{}
}

// begin notes a request, if its context names one. end has to be called after it.
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

// cancel ends the requests of that id, and reports whether there were any.
func (f *inFlight) cancel(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for cancel := range f.cancels[id] {
		(*cancel)()
	}
	return len(f.cancels[id]) > 0
}
