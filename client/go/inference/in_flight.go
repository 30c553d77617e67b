//go:build !nomlxlm

package inference

import (
	"context"
	"fmt"
	"sync"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// inFlight knows the requests in flight to which the host has given an id.
type inFlight struct {
	mu      sync.Mutex
	cancels map[string]map[*context.CancelCauseFunc]struct{}
}

// begin records a request if its context names an id. The caller must call end when the request has
// ended.
func (f *inFlight) begin(ctx context.Context) (limited context.Context, end func()) {
	id := requestID(ctx)
	if id == "" {
		return ctx, func() {}
	}
	limited, cancel := context.WithCancelCause(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cancels == nil {
		f.cancels = make(map[string]map[*context.CancelCauseFunc]struct{})
	}
	if f.cancels[id] == nil {
		f.cancels[id] = make(map[*context.CancelCauseFunc]struct{})
	}
	f.cancels[id][&cancel] = struct{}{}
	return limited, func() {
		cancel(nil)
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
		(*cancel)(cancelledByID(id))
	}
	return len(f.cancels[id]) > 0
}

// cancelledByID is the error of a request that CancelRequest ended. It matches context.Canceled, as
// hosts expect, and ErrCancelled, which the end of the caller's own context does not.
func cancelledByID(id string) error {
	return fmt.Errorf("%w (%w)", &mlxwire.Error{
		Code:    mlxwire.ErrCancelled,
		Message: fmt.Sprintf("CancelRequest(%q) ended this request; send it again if its answer is still needed", id),
	}, context.Canceled)
}

// causeOf returns the error of a request whose limited context has ended, or else err.
func causeOf(limited context.Context, err error) error {
	if cause := context.Cause(limited); cause != nil && err == limited.Err() {
		return cause
	}
	return err
}
