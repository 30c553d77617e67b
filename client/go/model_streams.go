package mlxwire

import (
	"context"
	"iter"
)

// How a model opens its streams.

// open finds the process to ask. fields are built late, since the window is that process' own.
func (m *Model) open(ctx context.Context, command string, o *requestOptions) (*connection, error) {
	if err := o.check(command); err != nil {
		return nil, err
	}
	c, err := m.ready(ctx)
	if err != nil {
		return nil, err
	}
	if size := c.window(); size > 0 {
		o.fields.Window = &size
	}
	return c, nil
}

func (m *Model) stream(ctx context.Context, command string, o *requestOptions, fields func() any) (*Stream, error) {
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

func (m *Model) items(ctx context.Context, command string, o *requestOptions, fields func() any) (*itemReplies, error) {
	c, err := m.open(ctx, command, o)
	if err != nil {
		return nil, err
	}
	replies := newItemReplies(c, command, o, m.note)
	return replies, replies.start(ctx, fields())
}

// tokens makes a sequence of a stream that is opened when it is ranged over.
func (m *Model) tokens(open func() (*Stream, error)) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		stream, err := open()
		if err != nil {
			yield(Token{}, err)
			return
		}
		stream.Tokens()(yield)
	}
}

// classified reads the items of a classification.
func classified(items *itemReplies) iter.Seq2[ClassifyResult, error] {
	return func(yield func(ClassifyResult, error) bool) {
		for line, err := range items.items(nil) {
			var result ClassifyResult
			if err == nil {
				result, err = decodeReply[ClassifyResult](line)
			}
			if !yield(result, err) || err != nil {
				return
			}
		}
	}
}

// collect takes a sequence up to its end or its first error.
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
