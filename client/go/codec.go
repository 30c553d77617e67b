package mlxwire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// encodeRequest is one request's line: the envelope, and the command's own fields beside it.
func encodeRequest(id string, command *wire.Command, fields any) ([]byte, error) {
	if path, ok := findInvalidText(reflect.ValueOf(fields)); ok {
		return nil, invalidParams(path, "`%s` of `%s` is not valid UTF-8", path, command.Name)
	}
	var line bytes.Buffer
	fmt.Fprintf(&line, `{"id":%q,"cmd":%q`, id, command.Name)
	head := line.Len()
	encoder := json.NewEncoder(&line) // ends its output with the line's 0x0A
	encoder.SetEscapeHTML(false)      // three bytes for each < would only cost
	if err := encoder.Encode(fields); err != nil {
		return nil, unsendable(command, err)
	}
	encoded := line.Bytes()
	if encoded[head+1] == '}' { // no fields
		return append(encoded[:head], "}\n"...), nil
	}
	encoded[head] = ','
	return encoded, nil
}

// unsendable says why a request is no JSON: a number is infinite or none.
func unsendable(command *wire.Command, err error) *Error {
	e := newError(ErrInvalidParams, "`%s` can't be sent as JSON: %v", command.Name, err)
	var value *json.UnsupportedValueError
	if errors.As(err, &value) {
		e.Message = fmt.Sprintf("an option of `%s` is %s; give it a finite number", command.Name, value.Str)
	}
	return e
}

// findInvalidText looks for a string that is no UTF-8, which encoding/json would send with
// U+FFFD in it, and gives its path, such as messages[0].content.
func findInvalidText(value reflect.Value) (path string, found bool) {
	switch value.Kind() {
	case reflect.String:
		return "", !utf8.ValidString(value.String())
	case reflect.Pointer:
		if !value.IsNil() {
			return findInvalidText(value.Elem())
		}
	case reflect.Slice:
		for i := range value.Len() {
			if rest, found := findInvalidText(value.Index(i)); found {
				return fmt.Sprintf("[%d]%s", i, dotted(rest)), true
			}
		}
	case reflect.Struct:
		for i := range value.NumField() {
			if rest, found := findInvalidText(value.Field(i)); found {
				return fieldPath(value.Type().Field(i), rest), true
			}
		}
	}
	return "", false
}

func fieldPath(f reflect.StructField, rest string) string {
	if f.Anonymous {
		return rest
	}
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name + dotted(rest)
}

// dotted joins the rest of a path to what comes before it.
func dotted(rest string) string {
	if rest == "" || strings.HasPrefix(rest, "[") {
		return rest
	}
	return "." + rest
}

// decodeReply reads a reply as its type. A field that its type always has and the reply lacks,
// or that is of another type, is a protocol violation.
func decodeReply[T any](line []byte) (T, error) {
	var reply T
	var sent map[string]json.RawMessage
	err := json.Unmarshal(line, &sent)
	if err == nil {
		err = json.Unmarshal(line, &reply)
	}
	if err != nil {
		return reply, newError(ErrProtocolViolation,
			"a reply of the worker is no %T: %v. Client and worker may be of different versions", reply, err)
	}
	for _, name := range requiredFields(reflect.TypeFor[T]()) {
		if _, ok := sent[name]; !ok {
			return reply, newError(ErrProtocolViolation,
				"a reply of the worker is no %T: it lacks `%s`. Client and worker may be of different versions", reply, name)
		}
	}
	return reply, nil
}

var requiredByType sync.Map // reflect.Type to []string

// requiredFields are the names that a message always has: those without omitempty.
func requiredFields(message reflect.Type) []string {
	if names, ok := requiredByType.Load(message); ok {
		return names.([]string)
	}
	var names []string
	for i := range message.NumField() {
		f := message.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			names = append(names, requiredFields(f.Type)...)
		case name != "" && !strings.Contains(options, "omit"):
			names = append(names, name)
		}
	}
	requiredByType.Store(message, names)
	return names
}
