package mlxwire

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// A SchemaProvider describes its own JSON, for a type with an UnmarshalJSON of its own, or one that
// accepts only some values. JSONSchema is called on a zero value.
type SchemaProvider interface {
	JSONSchema() json.RawMessage
}

// Patterns of texts that encoding/json accepts for a type.
const (
	datePattern = `(?:[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])` +
		`|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8])))`
	timePattern    = `^` + datePattern + `T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$`
	base64Pattern  = `^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$`
	integerPattern = `^(?:0|-?[1-9][0-9]{0,17})$`
	naturalPattern = `^(?:0|[1-9][0-9]{0,17})$`
)

// mostInteger is the largest bound of a 64-bit integer that a float64 holds exactly.
const mostInteger = 9e18

var (
	timeType     = reflect.TypeFor[time.Time]()
	rawType      = reflect.TypeFor[json.RawMessage]()
	numberType   = reflect.TypeFor[json.Number]()
	providerType = reflect.TypeFor[SchemaProvider]()
	jsonType     = reflect.TypeFor[json.Unmarshaler]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// schemaWriter describes one type. A named struct has a definition, so it may contain itself.
type schemaWriter struct {
	names       map[reflect.Type]string
	definitions map[string]*schema
	describes   bool            // with the descriptions of fields
	again       map[string]bool // names that more than one place refers to
}

func newSchemaWriter() schemaWriter {
	return schemaWriter{names: map[reflect.Type]string{}, definitions: map[string]*schema{}, again: map[string]bool{}}
}

// schemaFor returns the JSON Schema of the texts that encoding/json reads as a type.
func schemaFor(kind reflect.Type) (*schema, error) {
	w := newSchemaWriter()
	root, err := w.of(kind)
	if err != nil || len(w.definitions) == 0 {
		return root, err
	}
	if root.given != nil {
		return root, nil
	}
	whole := *root
	whole.Definitions = w.definitions
	return &whole, nil
}

// parametersFor returns the JSON Schema of a tool's arguments, with descriptions. Templates read the
// properties at its root.
func parametersFor(kind reflect.Type) (*schema, error) {
	w := newSchemaWriter()
	w.describes = true
	root, err := w.of(kind)
	if err != nil || root.given != nil {
		return root, err
	}
	whole := *root
	if name, named := w.names[kind]; named {
		whole = *w.definitions[name]
		if !w.again[name] {
			delete(w.definitions, name)
		}
	}
	if whole.Type != "object" {
		return nil, fmt.Errorf("the arguments of a tool must be a struct, and %s is no struct; give a struct", kind)
	}
	whole.Definitions = w.definitions
	return &whole, nil
}

func (w *schemaWriter) of(kind reflect.Type) (*schema, error) {
	switch {
	case kind.Implements(providerType) && kind.Kind() != reflect.Pointer && kind.Kind() != reflect.Interface:
		return &schema{given: reflect.Zero(kind).Interface().(SchemaProvider).JSONSchema()}, nil
	case kind == timeType:
		return &schema{Type: "string", Pattern: timePattern}, nil
	case kind == rawType:
		return &schema{}, nil
	case kind == numberType:
		return &schema{Type: "number"}, nil
	case kind.Kind() == reflect.Pointer:
		pointed, err := w.of(kind.Elem())
		return &schema{AnyOf: []*schema{pointed, {Type: "null"}}}, err
	case reflect.PointerTo(kind).Implements(jsonType):
		return nil, fmt.Errorf("%s has an UnmarshalJSON of its own; give it a method JSONSchema too", kind)
	case reflect.PointerTo(kind).Implements(textType):
		return &schema{Type: "string"}, nil
	}
	switch kind.Kind() {
	case reflect.Bool:
		return &schema{Type: "boolean"}, nil
	case reflect.String:
		return &schema{Type: "string"}, nil
	case reflect.Float32, reflect.Float64:
		return &schema{Type: "number"}, nil
	case reflect.Interface:
		if kind.NumMethod() == 0 {
			return &schema{}, nil
		}
	case reflect.Struct:
		return w.named(kind)
	case reflect.Map:
		return w.mapping(kind)
	case reflect.Slice, reflect.Array:
		return w.list(kind)
	default:
		if limits := integer(kind); limits != nil {
			return limits, nil
		}
	}
	return nil, fmt.Errorf("%s has no JSON", kind)
}

// integer returns the schema of a type of integers, or nil for any other type.
func integer(kind reflect.Type) *schema {
	var least, most float64
	switch kind.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		most = math.Ldexp(1, kind.Bits()-1) - 1
		least = -most - 1
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		most = math.Ldexp(1, kind.Bits()) - 1
	default:
		return nil
	}
	least, most = max(least, -mostInteger), min(most, mostInteger)
	return &schema{Type: "integer", Minimum: &least, Maximum: &most}
}

func (w *schemaWriter) list(kind reflect.Type) (*schema, error) {
	if kind.Kind() == reflect.Slice && kind.Elem().Kind() == reflect.Uint8 {
		return &schema{Type: "string", Pattern: base64Pattern}, nil
	}
	items, err := w.of(kind.Elem())
	if err != nil {
		return nil, err
	}
	list := &schema{Type: "array", Items: items}
	if kind.Kind() == reflect.Array {
		size := kind.Len()
		list.MinItems, list.MaxItems = &size, &size
	}
	return list, nil
}

func (w *schemaWriter) mapping(kind reflect.Type) (*schema, error) {
	values, err := w.of(kind.Elem())
	if err != nil {
		return nil, err
	}
	key := kind.Key()
	switch limits := integer(key); {
	case key.Kind() == reflect.String, reflect.PointerTo(key).Implements(textType):
		return &schema{Type: "object", AdditionalProperties: values}, nil
	case limits != nil:
		pattern := integerPattern
		if *limits.Minimum == 0 {
			pattern = naturalPattern
		}
		return &schema{Type: "object", PatternProperties: map[string]*schema{pattern: values}, AdditionalProperties: false}, nil
	}
	return nil, fmt.Errorf("%s has keys that JSON can't have", kind)
}

func (w *schemaWriter) named(kind reflect.Type) (*schema, error) {
	name, known := w.names[kind]
	if !known {
		name = definitionName(kind)
		if _, taken := w.definitions[name]; taken {
			name += "_" + strconv.Itoa(len(w.definitions))
		}
		w.names[kind] = name
		w.definitions[name] = nil // the name is taken while the fields refer to it
		described, err := w.object(kind)
		if err != nil {
			return nil, err
		}
		w.definitions[name] = described
	}
	w.again[name] = w.again[name] || known
	return &schema{Ref: "#/$defs/" + name}, nil
}

// definitionName returns a type's name without what a JSON Pointer would have to escape.
func definitionName(kind reflect.Type) string {
	base, _, _ := strings.Cut(kind.Name(), "[")
	if base == "" {
		return "struct"
	}
	return base
}

func (w *schemaWriter) object(kind reflect.Type) (*schema, error) {
	object := &schema{Type: "object", Properties: properties{}, AdditionalProperties: false}
	for _, field := range jsonFields(kind) {
		described, err := w.of(field.Type)
		if err != nil {
			return nil, fmt.Errorf("%s.%s: %w", kind, field.Name, err)
		}
		name, options := jsonTag(field)
		if options["string"] {
			described = quotedScalar(described)
		}
		if described, err = constrained(described, field); err != nil {
			return nil, fmt.Errorf("%s.%s: %w", kind, field.Name, err)
		}
		if w.describes {
			described.Description = description(field)
		}
		object.Properties = append(object.Properties, property{name, described})
		if !options["omitempty"] && !options["omitzero"] {
			object.Required = append(object.Required, name)
		}
	}
	return object, nil
}

// quotedScalar returns the schema of a number or bool with the option `string` in its tag.
func quotedScalar(plain *schema) *schema {
	switch plain.Type {
	case "integer":
		if plain.Minimum != nil && *plain.Minimum == 0 {
			return &schema{Type: "string", Pattern: naturalPattern}
		}
		return &schema{Type: "string", Pattern: integerPattern}
	case "number":
		return &schema{Type: "string", Pattern: `^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?$`}
	case "boolean":
		return &schema{Type: "string", Enum: []any{"true", "false"}}
	}
	return plain
}
