package mlxwire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"reflect"
)

// ChatInto answers a conversation with JSON of a type, and returns it as a value of that type. The
// tags json of its fields have their usual meaning; the tag jsonschema adds constraints, such as
// `jsonschema:"minimum=0"`.
//
// The error is an ErrInvalidAnswer, with the text as Error.Answer, if the answer was cut off
// (WithMaxTokens) or is no value of the type; an ErrInvalidParams if the type has no JSON Schema.
func ChatInto[T any](ctx context.Context, model *Model, messages []Message, options ...RequestOption) (T, error) {
	return into[T](options, func(options []RequestOption) (*Stream, error) {
		return model.ChatStream(ctx, messages, options...)
	})
}

// GenerateInto continues a raw prompt with JSON of a type, like ChatInto.
func GenerateInto[T any](ctx context.Context, model *Model, prompt string, options ...RequestOption) (T, error) {
	return into[T](options, func(options []RequestOption) (*Stream, error) {
		return model.GenerateStream(ctx, prompt, options...)
	})
}

func into[T any](options []RequestOption, send func([]RequestOption) (*Stream, error)) (T, error) {
	var none T
	kind := reflect.TypeFor[T]()
	if applyRequestOptions(options).fields.ResponseFormat != nil {
		return none, invalidParams("response_format",
			"WithResponseFormat says what form the answer has, and so does the type %s; leave the option out", kind)
	}
	described, err := schemaFor(kind)
	if err != nil {
		return none, invalidParams("response_format", "no JSON Schema can be made for %s: %w", kind, err)
	}
	name := definitionName(kind)
	stream, err := send(append(options[:len(options):len(options)], WithResponseFormat(JSONSchema(name, described))))
	if err != nil {
		return none, err
	}
	text, err := stream.Text()
	if err != nil {
		return none, err
	}
	done, _ := stream.Done()
	if !done.Complete {
		return none, cutOff(text, done)
	}
	value, err := decodeStrictly[T](text)
	if err != nil {
		failure := newError(ErrInvalidAnswer, "the answer is no %s: %w", kind, err)
		failure.Answer = text
		return none, failure
	}
	return value, nil
}

func cutOff(text string, done Done) *Error {
	remedy := "leave out WithStop and WithStopTokens"
	if done.FinishReason == FinishLength {
		remedy = "give it more tokens by WithMaxTokens"
	}
	failure := newError(ErrInvalidAnswer,
		"the answer was cut off (%s) before its JSON was whole: %s", done.FinishReason, remedy)
	failure.Answer = text
	failure.Data = map[string]any{"finish_reason": string(done.FinishReason), "complete": false}
	return failure
}

// decodeStrictly reads one JSON text whole, and refuses fields that the type has not.
func decodeStrictly[T any](text string) (T, error) {
	var value T
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&value); err != nil {
		return value, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return value, errors.New("more follows its JSON")
	}
	return value, nil
}
