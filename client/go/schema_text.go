package mlxwire

import (
	"bytes"
	"encoding/json"
)

// schema is the part of JSON Schema that Go types need.
type schema struct {
	Ref                  string             `json:"$ref,omitempty"`
	Type                 string             `json:"type,omitempty"`
	Description          string             `json:"description,omitempty"`
	AnyOf                []*schema          `json:"anyOf,omitempty"`
	Enum                 []any              `json:"enum,omitempty"`
	Pattern              string             `json:"pattern,omitempty"`
	Minimum              *float64           `json:"minimum,omitempty"`
	Maximum              *float64           `json:"maximum,omitempty"`
	MinLength            *int               `json:"minLength,omitempty"`
	MaxLength            *int               `json:"maxLength,omitempty"`
	Items                *schema            `json:"items,omitempty"`
	MinItems             *int               `json:"minItems,omitempty"`
	MaxItems             *int               `json:"maxItems,omitempty"`
	Properties           properties         `json:"properties,omitempty"`
	PatternProperties    map[string]*schema `json:"patternProperties,omitempty"`
	Required             []string           `json:"required,omitempty"`
	AdditionalProperties any                `json:"additionalProperties,omitempty"`
	Definitions          map[string]*schema `json:"$defs,omitempty"`

	given json.RawMessage // of a SchemaProvider, in place of all others
}

type property struct {
	name   string
	schema *schema
}

// properties are written in the order of the type's fields, in which the model then writes them.
type properties []property

func (p properties) MarshalJSON() ([]byte, error) {
	var text bytes.Buffer
	text.WriteByte('{')
	for i, each := range p {
		name, err := json.Marshal(each.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(each.schema)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			text.WriteByte(',')
		}
		text.Write(name)
		text.WriteByte(':')
		text.Write(value)
	}
	text.WriteByte('}')
	return text.Bytes(), nil
}

func (s *schema) MarshalJSON() ([]byte, error) {
	if s.given != nil {
		return s.given, nil
	}
	type plain schema // has no MarshalJSON of its own
	return json.Marshal((*plain)(s))
}
