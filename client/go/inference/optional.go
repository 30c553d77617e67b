package inference

import (
	"context"
	"iter"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// A model may implement these interfaces in addition to TextModel. Ask with a type assertion:
//
//	if cache, ok := model.(inference.PromptCacher); ok { … }

// An ErrorStreamer has streams with errors of their own, for hosts that run several streams at once.
// The error comes last, without a token. A stream without an error reached the end of the text or
// its limit. TextModel.Err does not report these errors.
type ErrorStreamer interface {
	GenerateWithErr(ctx context.Context, prompt string, options ...GenerateOption) iter.Seq2[Token, error]
	ChatWithErr(ctx context.Context, messages []Message, options ...GenerateOption) iter.Seq2[Token, error]
}

// A RequestCanceller cancels a request from anywhere. The request's stream ends with
// context.Canceled.
type RequestCanceller interface {
	// CancelRequest cancels the requests that have an id from ContextWithRequestID. It returns
	// false if none is in flight.
	CancelRequest(id string) bool
}

// A CapabilityReporter lists what it can do, with the names of the protocol.
type CapabilityReporter interface {
	Capabilities() mlxwire.Capabilities
}

// A PromptCacher has a prompt cache that the host can inspect, fill and save.
type PromptCacher interface {
	PromptCache() *mlxwire.PromptCache
}

// A MemoryLimiter reports its memory and accepts limits.
type MemoryLimiter interface {
	Memory(ctx context.Context) (mlxwire.Memory, error)
	SetMemory(ctx context.Context, limits mlxwire.MemoryLimits) (mlxwire.Memory, error)
}

type requestIDKey struct{}

// ContextWithRequestID returns a context that gives its requests an id, for CancelRequest.
func ContextWithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}
