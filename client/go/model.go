package mlxwire

import (
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// A Model is the result of one Worker.Load. A later load makes it void; a restart of the worker
// does not.
type Model struct {
	worker *Worker
	fields loadFields // for loading the model again
	loaded Loaded
	gone   string // why the model is void, or ""; guarded by the worker's lock

	mu      sync.Mutex
	metrics Metrics
}

// Loaded returns the worker's description of the model at its load. Info asks the worker again.
func (m *Model) Loaded() Loaded { return m.loaded }

// Generate continues a raw prompt. Each range over the result sends a new request. Use
// GenerateStream to learn how the text ended. Stream.Tokens describes errors and cancelling.
func (m *Model) Generate(ctx context.Context, prompt string, options ...RequestOption) iter.Seq2[Token, error] {
	return m.tokens(func() (*Stream, error) { return m.GenerateStream(ctx, prompt, options...) })
}

// Chat answers a conversation with the model's own chat template. Use its result like the result of
// Generate.
func (m *Model) Chat(ctx context.Context, messages []Message, options ...RequestOption) iter.Seq2[Token, error] {
	return m.tokens(func() (*Stream, error) { return m.ChatStream(ctx, messages, options...) })
}

// GenerateStream continues a raw prompt, like Generate, but sends the request at once and returns
// its Stream. The Stream has the request's ID and says how the text ended.
func (m *Model) GenerateStream(ctx context.Context, prompt string, options ...RequestOption) (*Stream, error) {
	o := applyRequestOptions(options)
	return m.stream(ctx, wire.Generate, o, func() any {
		return generateFields{Prompt: prompt, requestFields: o.fields}
	})
}

// ChatStream answers a conversation, like Chat, but sends the request at once and returns its
// Stream. The Stream has the request's ID and says how the text ended.
func (m *Model) ChatStream(ctx context.Context, messages []Message, options ...RequestOption) (*Stream, error) {
	o := applyRequestOptions(options)
	return m.stream(ctx, wire.Chat, o, func() any {
		return chatFields{Messages: messages, requestFields: o.fields}
	})
}

// BatchGenerate continues many raw prompts in one request. The results have the order of the
// prompts; a prompt that failed has its own Err. If the request fails, BatchGenerate returns the
// results that had arrived, and the error.
func (m *Model) BatchGenerate(ctx context.Context, prompts []string, options ...RequestOption) ([]BatchResult, error) {
	stream, err := m.BatchStream(ctx, prompts, options...)
	return inOrder(stream, err, func(r BatchResult) int { return r.Index })
}

// BatchStream continues many raw prompts in one request and gives each result as it arrives.
func (m *Model) BatchStream(ctx context.Context, prompts []string, options ...RequestOption) (*BatchStream, error) {
	o := applyRequestOptions(options)
	return items(ctx, m, wire.Batch, o, readBatched, StagePrompts, len(prompts), func() any {
		fields := batchFields{Prompts: prompts, requestFields: o.fields}
		if o.onToken != nil {
			on := true
			fields.Stream = &on
		}
		return fields
	})
}

// Info asks the worker to describe the model.
func (m *Model) Info(ctx context.Context) (ModelInfo, error) {
	return askModel[ModelInfo](ctx, m, wire.Info, noFields{})
}

// Metrics returns the figures of the last operation that ended. They are 0 before the first.
func (m *Model) Metrics() Metrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.metrics
}

// Cache returns the prompt cache, which keeps what earlier prompts computed.
func (m *Model) Cache() *PromptCache { return &PromptCache{model: m} }

// Close unloads the model after the requests before it have ended, and frees its memory. It has no
// effect on a model that is void.
func (m *Model) Close() error {
	_ = m.worker.takeTurn(context.Background())
	defer m.worker.endTurn()
	if !m.worker.dropModel(m) {
		return nil
	}
	c, err := m.worker.supervisor.connection(context.Background())
	if err == nil {
		_, err = c.ask(context.Background(), wire.Unload, noFields{})
	}
	if errors.Is(err, ErrShuttingDown) || errors.Is(err, ErrWorkerCrashed) || errors.Is(err, ErrCancelled) && c.isClosing() {
		return nil // the worker is gone, and the model with it
	}
	return err
}

// check returns an ErrModelNotLoaded if the model is void.
func (m *Model) check() error {
	m.worker.mu.Lock()
	defer m.worker.mu.Unlock()
	if m.gone != "" {
		return newError(ErrModelNotLoaded, "%s", m.gone)
	}
	return nil
}

func (m *Model) note(done Done) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.metrics = done.Metrics
}

// open returns the process to ask, and sets the window that this process supports. So the request's
// fields must be built after open.
func (m *Model) open(ctx context.Context, command *wire.Command, o *requestOptions) (*connection, error) {
	if err := o.check(command); err != nil {
		return nil, err
	}
	c, err := m.ready(ctx)
	if err != nil {
		return nil, err
	}
	o.setWindow(c)
	return c, nil
}

func (m *Model) stream(ctx context.Context, command *wire.Command, o *requestOptions, fields func() any) (*Stream, error) {
	c, err := m.open(ctx, command, o)
	if err != nil {
		return nil, err
	}
	replies := newTokenReplies(c, command, o, m.note)
	if err := replies.start(ctx, fields()); err != nil {
		return nil, err
	}
	return &Stream{replies: replies}, nil
}

// items sends a request of a model for many prompts or texts and returns its stream.
func items[T any](
	ctx context.Context, m *Model, command *wire.Command, o *requestOptions,
	read func(*request, []byte) (T, error), stage Stage, count int, fields func() any,
) (*ItemStream[T], error) {
	c, err := m.open(ctx, command, o)
	if err != nil {
		return nil, err
	}
	return openItems(ctx, c, command, o, fields(), m.note, read, stage, count)
}

// tokens returns a sequence that opens its stream when it is ranged over.
func (m *Model) tokens(open func() (*Stream, error)) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		stream, err := open()
		if err != nil {
			yield(Token{}, err)
			return
		}
		stream.forgets = true
		stream.Tokens()(yield)
	}
}

// collect reads a sequence to its end or its first error.
func collect[T any](sequence iter.Seq2[T, error]) ([]T, error) {
	var all []T
	for value, err := range sequence {
		if err != nil {
			return all, err
		}
		all = append(all, value)
	}
	return all, nil
}
