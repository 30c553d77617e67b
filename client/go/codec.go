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

// encodeRequest returns a request's line: id and command, and the command's own fields after them.
func encodeRequest(id string, command *wire.Command, fields any) ([]byte, error) {
	if path, ok := findInvalidText(reflect.ValueOf(fields)); ok {
		return nil, invalidParams(path, "`%s` of `%s` is not valid UTF-8; convert the text", path, command.Name)
	}
	var line bytes.Buffer
	fmt.Fprintf(&line, `{"id":%q,"cmd":%q`, id, command.Name)
	head := line.Len()
	encoder := json.NewEncoder(&line) // Encode writes the 0x0A that ends the line
	encoder.SetEscapeHTML(false)      // an escaped < would take six bytes instead of one
	if err := encoder.Encode(fields); err != nil {
		return nil, unsendable(command, err)
	}
	encoded := line.Bytes()
	if encoded[head+1] == '}' { // the command has no fields
		return append(encoded[:head], "}\n"...), nil
	}
	encoded[head] = ','
	return encoded, nil
}

// unsendable is the error of a request that JSON can't express, such as one with an infinite number.
func unsendable(command *wire.Command, err error) *Error {
	var value *json.UnsupportedValueError
	if errors.As(err, &value) {
		return newError(ErrInvalidParams, "an option of `%s` is %s; give it a finite number", command.Name, value.Str)
	}
	return newError(ErrInvalidParams, "`%s` can't be sent as JSON: %v", command.Name, err)
}

// findInvalidText looks for a string that is not UTF-8 and returns its path, such as
// messages[0].content. encoding/json would silently replace its bytes by U+FFFD.
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

// dotted returns the rest of a path as it follows the name before it.
func dotted(rest string) string {
	if rest == "" || strings.HasPrefix(rest, "[") {
		return rest
	}
	return "." + rest
}

// decodeReply reads a reply into its type. A field with another type than T's, or a missing field
// that T always has, is an ErrProtocolViolation.
func decodeReply[T any](line []byte) (T, error) {
	var reply T
	var sent map[string]json.RawMessage
	err := json.Unmarshal(line, &sent)
	if err == nil {
		err = json.Unmarshal(line, &reply)
	}
	if err != nil {
		return reply, newError(ErrProtocolViolation,
			"the worker sent a reply that can't be read as %T: %v. Client and worker may have different versions", reply, err)
	}
	for _, name := range requiredFields(reflect.TypeFor[T]()) {
		if _, ok := sent[name]; !ok {
			return reply, newError(ErrProtocolViolation,
				"the worker sent a reply that can't be read as %T: `%s` is missing. Client and worker may have different versions", reply, name)
		}
	}
	return reply, nil
}

var requiredByType sync.Map // reflect.Type to []string

// requiredFields returns the names of the fields that a message always has: those without omitempty,
// and without the tag `since`, which marks a field that older workers of protocol 1 do not send.
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
		case name != "" && !strings.Contains(options, "omit") && f.Tag.Get("since") == "":
			names = append(names, name)
		}
	}
	requiredByType.Store(message, names)
	return names
}
