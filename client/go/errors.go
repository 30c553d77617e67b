package mlxwire

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
)

// A Code names a kind of failure. A Code is itself an error, so that errors.Is can look for it:
//
//	if errors.Is(err, mlxwire.ErrContextOverflow) { … }
type Code string

// Error returns the code as the wire spells it. fmt and slog print the same.
func (c Code) Error() string { return string(c) }

// Codes that a worker sends (SPEC §6).
const (
	ErrParseError            Code = "parse_error"            // the worker received a line that is not JSON
	ErrInvalidRequest        Code = "invalid_request"        // the worker received a line that is not a request
	ErrInvalidParams         Code = "invalid_params"         // an option has a wrong value; Error.Field names it
	ErrUnknownCommand        Code = "unknown_command"        // the worker does not know the command; a newer one may
	ErrNotInitialized        Code = "not_initialized"        // a request came before the handshake
	ErrUnsupportedProtocol   Code = "unsupported_protocol"   // client and worker have no version in common
	ErrUnsupportedCapability Code = "unsupported_capability" // see WithRequire; Data["missing"] lists what is missing
	ErrDuplicateID           Code = "duplicate_id"           // a request had the id of an earlier one
	ErrMessageTooLarge       Code = "message_too_large"      // the request was not sent
	ErrOverloaded            Code = "overloaded"             // too many requests wait; send it again later
	ErrShuttingDown          Code = "shutting_down"          // the worker is closing or was closed
	ErrModelNotLoaded        Code = "model_not_loaded"       // no model is loaded, or this Model was closed or replaced
	ErrModelNotFound         Code = "model_not_found"        // the folder does not exist or may not be read
	ErrModelLoadFailed       Code = "model_load_failed"      // the model's folder is broken
	ErrUnsupportedModel      Code = "unsupported_model"      // the worker has no code for this kind of model
	ErrContextOverflow       Code = "context_overflow"       // the prompt leaves no room for an answer
	ErrOutOfMemory           Code = "out_of_memory"          // the request needs more memory than there is
	ErrUnavailable           Code = "unavailable"            // descriptors, threads, disk or the like are short for now
	ErrTrainingFailed        Code = "training_failed"        // Data["checkpoint"] is the last good checkpoint, if there is one
	ErrDeadlineExceeded      Code = "deadline_exceeded"      // the deadline of WithDeadline has passed
	ErrInternal              Code = "internal"               // the worker has a defect
)

// Codes that this client makes.
const (
	ErrSpawnFailed       Code = "spawn_failed"       // the program could not be started
	ErrHandshakeFailed   Code = "handshake_failed"   // the program started but did not answer as a worker
	ErrWorkerCrashed     Code = "worker_crashed"     // the worker died; Error.Exit says how
	ErrTimeout           Code = "timeout"            // the time of WithIdleTimeout has passed
	ErrDrainTimeout      Code = "drain_timeout"      // a cancelled request, or the worker, did not end in time
	ErrSlowConsumer      Code = "slow_consumer"      // a stream's buffer was full, and the stream was cancelled
	ErrCancelled         Code = "cancelled"          // another call, or a close, cancelled the request; the end of a context is not one
	ErrProtocolViolation Code = "protocol_violation" // the worker broke a rule of the wire and was ended
	ErrInvalidAnswer     Code = "invalid_answer"     // an answer of ChatInto or GenerateInto was cut off, or is no value of the type; RunTools found no answer
)

// retryableCodes are the codes of failures after which the same request may succeed.
var retryableCodes = map[Code]bool{ErrOverloaded: true, ErrOutOfMemory: true, ErrUnavailable: true, ErrWorkerCrashed: true}

// An Error is a failure of a worker or of a request.
type Error struct {
	Code    Code
	Message string // for people: what was wrong and what to do
	// Retryable is true if the same request may succeed later.
	Retryable bool
	// Data holds what the code adds: "field", "prompt_tokens", "missing", …
	Data map[string]any
	// TokensDelivered is how many tokens the consumer had received when the request failed; for a
	// batch or a classification, how many results.
	TokensDelivered int
	// Exit says how the worker's process ended. It is set on ErrWorkerCrashed, and on
	// ErrHandshakeFailed if the program exited; nil if the client had to end the process.
	Exit *Exit
	// InFlight is set on ErrWorkerCrashed: the number of requests in flight when the worker died.
	// If it is 1, that request may have caused the crash. With WithRestart the error is not
	// Retryable if the same request was the only one at the crash before, too.
	InFlight int
	// Stderr is the end of the worker's stderr, if that helps to explain the failure.
	Stderr string
	// Answer is set on ErrInvalidAnswer: the text that could not be read as a value.
	Answer string

	fact  string // the message without its advice, for a message that quotes this one
	cause error
}

// ErrStreamClosed is the cause of the error of a stream that was closed, left, or read to its end
// before.
var ErrStreamClosed = errors.New("the stream is closed")

// Exit says how a process ended.
type Exit struct {
	// Unknown is true if the status is lost, because another part of the host has reaped the process or
	// the host ignores SIGCHLD.
	Unknown    bool
	Code       int    // -1 if a signal ended the process, or if the status is lost
	Signal     int    // 0 if no signal ended the process
	SignalName string // such as "killed"
}

// Error returns the code, the message, and the end of the worker's stderr if it is known.
func (e *Error) Error() string {
	text := fmt.Sprintf("mlxwire: %s: %s", e.Code, e.Message)
	if tail := strings.TrimSpace(e.Stderr); tail != "" {
		text += "\n--- stderr ---\n" + tail
	}
	return text
}

// Is matches the error's Code.
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code == e.Code
}

// Unwrap returns the cause, such as the system's error for a program that does not exist, or nil.
func (e *Error) Unwrap() error { return e.cause }

// Field returns the path of the request's field that was wrong, or "" if the error names none.
func (e *Error) Field() string {
	field, _ := e.Data["field"].(string)
	return field
}

// Timeout returns true for errors of time limits, as package net does.
func (e *Error) Timeout() bool { return e.Code == ErrTimeout || e.Code == ErrDeadlineExceeded }

// newError returns an error that the client itself makes. The argument of a %w is its cause.
func newError(code Code, format string, arguments ...any) *Error {
	err := fmt.Errorf(format, arguments...)
	return &Error{
		Code: code, Message: err.Error(), Retryable: retryableCodes[code], cause: errors.Unwrap(err),
	}
}

func invalidParams(field, format string, arguments ...any) *Error {
	e := newError(ErrInvalidParams, format, arguments...)
	e.Data = map[string]any{"field": field}
	return e
}

// errorBody is an error as the wire spells it.
type errorBody struct {
	Code      Code           `json:"code"`
	Message   string         `json:"message"`
	Retryable bool           `json:"retryable"`
	Data      map[string]any `json:"data"`
}

// UnmarshalJSON reads an error. It refuses one without a code or a message.
func (b *errorBody) UnmarshalJSON(text []byte) error {
	var sent struct {
		Code      *Code           `json:"code"`
		Message   *string         `json:"message"`
		Retryable json.RawMessage `json:"retryable"`
		Data      json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(text, &sent); err != nil {
		return err
	}
	if sent.Code == nil || sent.Message == nil || string(sent.Retryable) == "null" || string(sent.Data) == "null" {
		return errors.New("an error whose `code` or `message` is missing, or a field of which is null")
	}
	type plain errorBody // has no UnmarshalJSON of its own
	return json.Unmarshal(text, (*plain)(b))
}

func (b errorBody) err() *Error {
	return &Error{Code: b.Code, Message: b.Message, Retryable: b.Retryable, Data: b.Data}
}

// errorFromReply reads an error reply. The second error says what is wrong with the reply itself.
func errorFromReply(line []byte) (*Error, error) {
	reply, err := decodeReply[errorReply](line)
	if err != nil {
		return nil, err
	}
	return reply.Error.err(), nil
}

// delivered copies an error for one of the many requests that fail with it, and sets how many
// tokens that request's consumer had received.
func delivered(err error, count int) error {
	cause, ok := err.(*Error)
	if !ok {
		return err
	}
	own := *cause
	own.Data = maps.Clone(cause.Data)
	own.TokensDelivered = count
	return &own
}
