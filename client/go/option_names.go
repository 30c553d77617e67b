package mlxwire

import (
	"cmp"
	"reflect"
	"regexp"
	"strings"
	"sync"
)

// This file translates the wire's names of options into those that the caller wrote: an error says
// `WithMaxTokens` where the worker says `max_tokens`.

var optionsByType sync.Map // reflect.Type to map[string]string

// optionNames returns the options of a request's fields by their names on the wire.
func optionNames(fields reflect.Type) map[string]string {
	if names, ok := optionsByType.Load(fields); ok {
		return names.(map[string]string)
	}
	names := make(map[string]string)
	for i := range fields.NumField() {
		f := fields.Field(i)
		if f.Anonymous {
			for name, option := range optionNames(f.Type) {
				names[name] = option
			}
		} else if option := f.Tag.Get("option"); option != "" {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			names[name] = option
		}
	}
	optionsByType.Store(fields, names)
	return names
}

// quotedName is a name as the worker's messages quote it, such as `stop[0]`.
var quotedName = regexp.MustCompile("`([a-z_]+)([^`]*)`")

// nameOptions puts the names that the caller wrote into the message of a worker's error. fields are
// those of the request that failed; the message may name options of its load, too.
func nameOptions(message string, fields any) string {
	if fields == nil {
		return message
	}
	own, ofLoad := optionNames(reflect.TypeOf(fields)), optionNames(reflect.TypeFor[loadFields]())
	return quotedName.ReplaceAllStringFunc(message, func(quoted string) string {
		parts := quotedName.FindStringSubmatch(quoted)
		option := cmp.Or(own[parts[1]], ofLoad[parts[1]], parts[1])
		return "`" + option + parts[2] + "`"
	})
}
