package mlxwire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// encodeRequest returns a request's line: id and command, and the command's own fields after them.
func encodeRequest(id string, command *wire.Command, fields any) ([]byte, error) {
	if path, advice := findUnsendable(reflect.ValueOf(fields)); advice != "" {
		return nil, invalidParams(path, "%s", nameOptions(fmt.Sprintf("`%s` of `%s` is %s", path, command.Name, advice), fields))
	}
	var line bytes.Buffer
	fmt.Fprintf(&line, `{"id":%q,"cmd":%q`, id, command.Name)
	head := line.Len()
	encoder := json.NewEncoder(&line) // Encode writes the 0x0A that ends the line
	encoder.SetEscapeHTML(false)      // an escaped < would take six bytes instead of one
	if err := encoder.Encode(fields); err != nil {
		return nil, newError(ErrInvalidParams, "`%s` can't be sent as JSON: %v", command.Name, err)
	}
	encoded := line.Bytes()
	if encoded[head+1] == '}' { // the command has no fields
		return append(encoded[:head], "}\n"...), nil
	}
	encoded[head] = ','
	return encoded, nil
}

// findUnsendable looks for a value that JSON can't express: a string that is not UTF-8, whose bytes
// encoding/json would silently replace by U+FFFD, or a number that is not finite. It returns the
// value's path, such as messages[0].content, and what is wrong with it. Both are "" if JSON can
// express everything.
func findUnsendable(value reflect.Value) (path, wrong string) {
	switch value.Kind() {
	case reflect.String:
		if !utf8.ValidString(value.String()) {
			return "", "not valid UTF-8; convert the text"
		}
	case reflect.Float64:
		if number := value.Float(); math.IsNaN(number) || math.IsInf(number, 0) {
			return "", fmt.Sprintf("%v; give a finite number", number)
		}
	case reflect.Pointer, reflect.Interface:
		if !value.IsNil() {
			return findUnsendable(value.Elem())
		}
	case reflect.Slice:
		for i := range value.Len() {
			if rest, wrong := findUnsendable(value.Index(i)); wrong != "" {
				return fmt.Sprintf("[%d]%s", i, dotted(rest)), wrong
			}
		}
	case reflect.Map:
		for each := value.MapRange(); each.Next(); {
			if _, wrong := findUnsendable(each.Value()); wrong != "" {
				return fmt.Sprintf("[%s]", each.Key()), wrong
			}
		}
	case reflect.Struct:
		for i := range value.NumField() {
			if rest, wrong := findUnsendable(value.Field(i)); wrong != "" {
				return fieldPath(value.Type().Field(i), rest), wrong
			}
		}
	}
	return "", ""
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

// decodeReply reads a reply into its type. The error says which field has another type than T's, or is
// missing although T always has it; connection.violated ends the worker for it.
func decodeReply[T any](line []byte) (T, error) {
	reply, err := decodeWhole[T](line)
	if err != nil {
		return reply, fmt.Errorf("the worker sent a reply that can't be read as %T: %w", reply, err)
	}
	return reply, nil
}

// decodeWhole reads a JSON object that has all fields of its type.
func decodeWhole[T any](object []byte) (T, error) {
	var value T
	var sent map[string]json.RawMessage
	err := json.Unmarshal(object, &sent)
	if err == nil {
		err = json.Unmarshal(object, &value)
	}
	if err != nil {
		return value, err
	}
	for _, f := range replyFields(reflect.TypeFor[T]()) {
		if field, ok := sent[f.name]; !ok && !f.optional || ok && !f.nullable && string(field) == "null" {
			return value, fmt.Errorf("`%s` is missing or null", f.name)
		}
	}
	return value, nil
}

// A replyField is a field of a message. Fields without a pointer, slice or map are never null.
type replyField struct {
	name     string
	optional bool // the message may lack it
	nullable bool
}

var fieldsByType sync.Map // reflect.Type to []replyField

// replyFields returns the fields of a message. Those with omitempty are optional, and those with the tag
// `since`, which marks a field that older workers of protocol 1 do not send.
func replyFields(message reflect.Type) []replyField {
	if known, ok := fieldsByType.Load(message); ok {
		return known.([]replyField)
	}
	var fields []replyField
	for i := range message.NumField() {
		f := message.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			fields = append(fields, replyFields(f.Type)...)
		case name != "" && name != "-":
			kind := f.Type.Kind()
			fields = append(fields, replyField{
				name:     name,
				optional: strings.Contains(options, "omit") || f.Tag.Get("since") != "",
				nullable: kind == reflect.Pointer || kind == reflect.Slice || kind == reflect.Map,
			})
		}
	}
	fieldsByType.Store(message, fields)
	return fields
}
