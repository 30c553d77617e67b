package mlxwire

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// A Code names a kind of failure. It is an error itself, for errors.Is:
//
//	if errors.Is(err, mlxwire.ErrContextOverflow) { … }
type Code string

// Error makes a Code a target for errors.Is. It is the code as the wire has it, and so is what
// fmt and slog print of one.
func (c Code) Error() string { return string(c) }

// Codes that a worker sends (SPEC §6).
const (
	ErrParseError            Code = "parse_error"            // the worker could not read a line as JSON
	ErrInvalidRequest        Code = "invalid_request"        // a line was no request
	ErrInvalidParams         Code = "invalid_params"         // an option is wrong; Error.Field names it
	ErrUnknownCommand        Code = "unknown_command"        // a newer worker may know it
	ErrNotInitialized        Code = "not_initialized"        // before the handshake
	ErrUnsupportedProtocol   Code = "unsupported_protocol"   // no version in common
	ErrUnsupportedCapability Code = "unsupported_capability" // see WithRequire; Data["missing"]
	ErrDuplicateID           Code = "duplicate_id"           // an id was used before
	ErrMessageTooLarge       Code = "message_too_large"      // nothing was sent
	ErrOverloaded            Code = "overloaded"             // send it again later
	ErrShuttingDown          Code = "shutting_down"          // the worker is closing, or was closed
	ErrModelNotLoaded        Code = "model_not_loaded"       // none, or this one was closed or replaced
	ErrModelNotFound         Code = "model_not_found"        // no such folder, or it may not be read
	ErrModelLoadFailed       Code = "model_load_failed"      // a broken model folder
	ErrUnsupportedModel      Code = "unsupported_model"      // no code for this kind of model
	ErrContextOverflow       Code = "context_overflow"       // the prompt leaves no room
	ErrOutOfMemory           Code = "out_of_memory"          // it needs more than there is
	ErrDeadlineExceeded      Code = "deadline_exceeded"      // see WithDeadline
	ErrInternal              Code = "internal"               // a defect in the worker
)

// Codes that this client makes.
const (
	ErrSpawnFailed       Code = "spawn_failed"       // the program could not be started
	ErrHandshakeFailed   Code = "handshake_failed"   // it started, and is no worker
	ErrWorkerCrashed     Code = "worker_crashed"     // it died; Error.Exit says how
	ErrTimeout           Code = "timeout"            // see WithIdleTimeout
	ErrDrainTimeout      Code = "drain_timeout"      // a cancelled request did not end: it may hang
	ErrSlowConsumer      Code = "slow_consumer"      // a stream passed its buffer, and was cancelled
	ErrCancelled         Code = "cancelled"          // by another call; it is context.Canceled too
	ErrProtocolViolation Code = "protocol_violation" // it broke the wire's rules, and was stopped
)

// retryableCodes may succeed unchanged on a later try.
var retryableCodes = map[Code]bool{ErrOverloaded: true, ErrOutOfMemory: true, ErrWorkerCrashed: true}

// An Error is anything that went wrong with a worker.
type Error struct {
	Code    Code
	Message string // for people; says what to do
	// Retryable says that the same request may succeed later, unchanged.
	Retryable bool
	// Data is what the code brings along: "field", "prompt_tokens", "missing", …
	Data map[string]any
	// TokensDelivered is how many tokens (of a batch or classification: results) the consumer
	// had been given when the request failed.
	TokensDelivered int
	// Exit is how the worker ended, on ErrWorkerCrashed, and on ErrHandshakeFailed where it
	// exited instead of an answer; nil where it still had to be ended.
	Exit *Exit
	// InFlight is how many requests the worker owed their final when it died, on
	// ErrWorkerCrashed: with 1 it was that request, or chance. With WithRestart such an error is
	// not Retryable where the same request was the only one at the crash before too.
	InFlight int
	// Stderr is the last that the worker logged, where that explains something.
	Stderr string
}

// Exit is how a process ended.
type Exit struct {
	Code       int    // -1 where a signal ended it
	Signal     int    // 0 where none did
	SignalName string // such as "killed"
}

// Error gives the code, the message, and what is known of the worker's last words.
func (e *Error) Error() string {
	text := fmt.Sprintf("mlxwire: %s: %s", e.Code, e.Message)
	if tail := strings.TrimSpace(e.Stderr); tail != "" {
		text += "\n--- stderr ---\n" + tail
	}
	return text
}

// Is compares with a Code. What another call cancelled is context.Canceled too.
func (e *Error) Is(target error) bool {
	if target == context.Canceled {
		return e.Code == ErrCancelled
	}
	code, ok := target.(Code)
	return ok && code == e.Code
}

// Field is the request's field that was wrong, as a path; empty where the error names none.
func (e *Error) Field() string {
	field, _ := e.Data["field"].(string)
	return field
}

// Timeout is the convention of package net.
func (e *Error) Timeout() bool { return e.Code == ErrTimeout || e.Code == ErrDeadlineExceeded }

// newError makes an error of this client's own.
func newError(code Code, format string, arguments ...any) *Error {
	return &Error{
		Code: code, Message: fmt.Sprintf(format, arguments...), Retryable: retryableCodes[code],
	}
}

func invalidParams(field, format string, arguments ...any) *Error {
	e := newError(ErrInvalidParams, format, arguments...)
	e.Data = map[string]any{"field": field}
	return e
}

// errorBody is an error as the wire has it.
type errorBody struct {
	Code      Code           `json:"code"`
	Message   string         `json:"message"`
	Retryable bool           `json:"retryable"`
	Data      map[string]any `json:"data"`
}

func (b errorBody) err() *Error {
	return &Error{Code: b.Code, Message: b.Message, Retryable: b.Retryable, Data: b.Data}
}

// errorFromReply reads an `error` reply.
func errorFromReply(line []byte) *Error {
	var reply errorReply
	if err := json.Unmarshal(line, &reply); err != nil || reply.Error.Code == "" {
		return newError(ErrProtocolViolation, "an error reply has no error in it: %.200s", line)
	}
	return reply.Error.err()
}

// delivered is a copy of an error for one of many that it fails, with what that one had.
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
