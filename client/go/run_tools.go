package mlxwire

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// defaultMaxRounds is how many answers with calls RunTools allows.
const defaultMaxRounds = 8

// The causes of an ErrInvalidAnswer of RunTools.
var (
	// ErrTooManyRounds: the model still called tools after the rounds of WithMaxRounds.
	ErrTooManyRounds = errors.New("too many rounds of tool calls")
	// ErrCallCutOff: WithMaxTokens cut a tool call.
	ErrCallCutOff = errors.New("a tool call was cut off")
)

// A ToolFunc is a function that RunTools runs when the model calls it. NewToolFunc makes one.
type ToolFunc struct {
	Tool Tool
	// Run takes the text of a JSON object and returns what the model is told.
	Run func(ctx context.Context, arguments string) (string, error)

	err error // why the function can't be a tool
}

// NewToolFunc makes a tool of a function whose arguments are a struct, with the tags of ChatInto; the tag
// jsonschema may also describe a field to the model, such as `jsonschema:"in degrees,minimum=0"`. The
// model is told a result of a string type as it is, and any other as JSON. RunTools returns an ErrInvalidParams
// if the struct has no JSON Schema.
func NewToolFunc[A, R any](name, description string, run func(context.Context, A) (R, error)) ToolFunc {
	parameters, err := parametersFor(reflect.TypeFor[A]())
	return ToolFunc{
		Tool: Tool{Name: name, Description: description, Parameters: parameters},
		Run: func(ctx context.Context, arguments string) (string, error) {
			given, err := decodeStrictly[A](arguments)
			if err != nil {
				return "", fmt.Errorf("the arguments are not valid: %w", err)
			}
			result, err := run(ctx, given)
			if err != nil {
				return "", err
			}
			return toldOf(result)
		},
		err: err,
	}
}

// toldOf returns the text of a function's result.
func toldOf(result any) (string, error) {
	if value := reflect.ValueOf(result); value.Kind() == reflect.String {
		return value.String(), nil
	}
	text, err := json.Marshal(result)
	return string(text), err
}

// A ToolsAnswer is the end of RunTools. Text, Thoughts and Done are of the last answer, whose turn is the last of
// Messages.
type ToolsAnswer struct {
	Text     string
	Thoughts string
	Messages []Message // the whole conversation
	Rounds   int       // how many requests were sent
	Done     Done
}

// RunTools answers a conversation and runs the functions that the model calls, until an answer has no
// calls. The functions run in the caller's goroutine, one after the other. The model is told the error of a
// function, and of a call that can't be read, is of no known tool, or has arguments that do not fit; it may try
// again. To end the run, cancel its context.
//
// A WithToolChoice that forces a call holds in the first round only. WithMaxRounds limits the rounds, and
// WithOnToken hears each token as it arrives. After an error the ToolsAnswer has the conversation so far. An
// ErrInvalidAnswer has the cause ErrTooManyRounds, or ErrCallCutOff: then no function of that answer was run,
// Text and Done are of that answer, and Messages end before it, for another run with more tokens.
func RunTools(ctx context.Context, model *Model, messages []Message, functions []ToolFunc, options ...RequestOption) (ToolsAnswer, error) {
	run := toolRun{model: model, options: options, answer: ToolsAnswer{Messages: slices.Clone(messages)}}
	if err := run.check(functions); err != nil {
		return run.answer, err
	}
	for {
		err := run.ask(ctx)
		done := run.answer.Done
		if err != nil || len(done.ToolCalls) == 0 && done.ToolError == nil {
			return run.answer, err
		}
		for _, call := range done.ToolCalls {
			told, err := run.run(ctx, call)
			if err != nil {
				return run.answer, err
			}
			run.answer.Messages = append(run.answer.Messages, Message{Role: "tool", Content: told, ToolCallID: call.ID, Name: call.Name})
		}
		if done.ToolError != nil {
			run.tell(done)
		}
		if run.answer.Rounds == run.most {
			return run.answer, run.failure(ErrTooManyRounds, "the model still called tools in round %d, the last one allowed; "+
				"allow more by WithMaxRounds, or go on with the Messages of the answer", run.most)
		}
	}
}

// A toolRun is one call of RunTools.
type toolRun struct {
	model     *Model
	functions []ToolFunc
	options   []RequestOption
	onToken   func(Token)
	most      int
	answer    ToolsAnswer
}

// check refuses functions and options that a run has no use for.
func (r *toolRun) check(functions []ToolFunc) error {
	o := applyRequestOptions(r.options)
	r.functions, r.onToken, r.most = functions, o.onToken, defaultMaxRounds
	if o.maxRounds != nil {
		r.most = *o.maxRounds
	}
	tools := make([]Tool, len(functions))
	for i, function := range functions {
		tools[i] = function.Tool
		switch {
		case function.err != nil:
			return invalidParams("tools", "the function %s can't be a tool: %w", function.Tool.Name, function.err)
		case function.Run == nil:
			return invalidParams("tools", "the tool %s has no function; make it by NewToolFunc", function.Tool.Name)
		}
	}
	switch {
	case o.err != nil:
		return o.err
	case r.most < 1:
		return invalidParams("max_rounds", "WithMaxRounds is %d; give at least 1, or leave it out for %d", r.most, defaultMaxRounds)
	case o.fields.Tools != nil:
		return invalidParams("tools", "WithTools can't stand beside the functions of RunTools, which are the tools; leave it out")
	}
	r.options = append(slices.Clone(r.options), func(o *requestOptions) {
		o.onToken, o.maxRounds = nil, nil // those of the run
		o.fields.Tools = tools
		if choice := o.fields.ToolChoice; r.answer.Rounds > 0 && choice != nil && *choice != "none" {
			o.fields.ToolChoice = nil // a call that is forced again would never let the model answer
		}
	})
	return nil
}

// ask sends one request and adds its answer. The error is an ErrInvalidAnswer if the answer's end cut a call.
func (r *toolRun) ask(ctx context.Context) error {
	r.answer.Done = Done{}
	stream, err := r.model.ChatStream(ctx, r.answer.Messages, r.options...)
	if err != nil {
		return err
	}
	r.answer.Rounds++
	for token, err := range stream.Tokens() {
		if err != nil {
			return err
		}
		if r.onToken != nil {
			r.onToken(token)
		}
	}
	turn, err := stream.Message()
	if err != nil {
		return err
	}
	r.answer.Text, r.answer.Thoughts = turn.Content, turn.ReasoningContent
	r.answer.Done, _ = stream.Done()
	if failed := r.answer.Done.ToolError; failed != nil && failed.CutOff {
		fewer := ""
		if len(r.answer.Done.ToolCalls) > 0 {
			fewer = " or set WithParallelToolCalls to false,"
		}
		return r.failure(ErrCallCutOff, "the model's tool call was cut off in round %d, and no function of that answer was run; "+
			"give more tokens by WithMaxTokens,%s and go on with the Messages of the answer", r.answer.Rounds, fewer)
	}
	r.answer.Messages = append(r.answer.Messages, turn)
	return nil
}

// tell tells the model of a call that could not be read. A template may accept no result that answers no call,
// and no turn of the user right behind a result.
func (r *toolRun) tell(done Done) {
	problem := fmt.Sprintf("error: a tool call was not run: %s; %s", done.ToolError.Message, r.known())
	messages := r.answer.Messages
	if len(done.ToolCalls) > 0 {
		messages[len(messages)-1].Content += "\n\n" + problem
		return
	}
	r.answer.Messages = append(messages, Message{Role: "user", Content: problem})
}

func (r *toolRun) failure(cause error, format string, args ...any) *Error {
	failure := newError(ErrInvalidAnswer, format, args...)
	failure.Answer, failure.cause = r.answer.Text, cause
	return failure
}

// known names the tools to the model.
func (r *toolRun) known() string {
	names := make([]string, len(r.functions))
	for i, function := range r.functions {
		names[i] = function.Tool.Name
	}
	return "the tools are: " + cmp.Or(strings.Join(names, ", "), "none")
}

// run calls the function of a call and returns what the model is told. The error is that of the context.
func (r *toolRun) run(ctx context.Context, call ToolCall) (string, error) {
	told, err := r.result(ctx, call)
	if ended := ctx.Err(); ended != nil {
		return "", ended
	}
	if err != nil {
		return "error: " + err.Error(), nil
	}
	return told, nil
}

func (r *toolRun) result(ctx context.Context, call ToolCall) (string, error) {
	for _, function := range r.functions {
		if function.Tool.Name != call.Name {
			continue
		}
		if call.ArgumentsError != nil {
			return "", fmt.Errorf("the arguments are not valid: %s", *call.ArgumentsError)
		}
		return function.Run(ctx, call.Arguments)
	}
	return "", fmt.Errorf("there is no tool %q; %s", call.Name, r.known())
}
