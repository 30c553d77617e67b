package mlxwire

import (
	"encoding/json"
	"reflect"
	"strings"
	"sync"
)

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
