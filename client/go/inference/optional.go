package inference

import (
	"context"
	"iter"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// What a model may be able to do beside TextModel; ask with a type assertion:
//
//	if cache, ok := model.(inference.PromptCacher); ok { … }

// An ErrorStreamer has streams that bring their own errors, for hosts that run several at once.
// The error comes last, with no token; without one the text has ended, or reached its limit.
// Nothing of it is seen in TextModel.Err.
type ErrorStreamer interface {
	GenerateWithErr(ctx context.Context, prompt string, options ...GenerateOption) iter.Seq2[Token, error]
	ChatWithErr(ctx context.Context, messages []Message, options ...GenerateOption) iter.Seq2[Token, error]
}

// A RequestCanceller cancels a request from anywhere. The request's stream ends with
// context.Canceled as its Err.
type RequestCanceller interface {
	// CancelRequest reports whether a request of that id, given by ContextWithRequestID, was
	// in flight.
	CancelRequest(id string) bool
}

// A CapabilityReporter tells what it can do, by the protocol's names.
type CapabilityReporter interface {
	Capabilities() mlxwire.Capabilities
}

// A PromptCacher has a prompt cache to look at, fill and save.
type PromptCacher interface {
	PromptCache() *mlxwire.PromptCache
}

// A MemoryLimiter tells its memory and takes limits.
type MemoryLimiter interface {
	Memory(ctx context.Context) (mlxwire.Memory, error)
	SetMemory(ctx context.Context, limits mlxwire.MemoryLimits) (mlxwire.Memory, error)
}

type requestIDKey struct{}

// ContextWithRequestID gives the requests made with a context an id of the host's own, for
// CancelRequest.
func ContextWithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}
