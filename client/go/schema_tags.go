package mlxwire

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// constrained returns a field's schema with the constraints of its tag `jsonschema`, such as
// `jsonschema:"minimum=0,maximum=9"` or `jsonschema:"enum=red,enum=green"`. The parts without a `=` are a
// description, which a model sees of a tool's arguments alone. A comma in a value is not possible.
func constrained(plain *schema, field reflect.StructField) (*schema, error) {
	own := *plain
	for part := range strings.SplitSeq(field.Tag.Get("jsonschema"), ",") {
		key, value, isConstraint := strings.Cut(part, "=")
		if !isConstraint {
			continue
		}
		if own.Ref != "" || own.given != nil || own.AnyOf != nil {
			return nil, fmt.Errorf("the tag jsonschema has %q, which a %s can't have; put it on a plain field", key, field.Type)
		}
		if err := constrain(&own, key, value); err != nil {
			return nil, fmt.Errorf("the tag jsonschema has %q: %w", part, err)
		}
	}
	return &own, nil
}

// description returns the parts of a field's tag `jsonschema` that are no constraints.
func description(field reflect.StructField) string {
	var parts []string
	for part := range strings.SplitSeq(field.Tag.Get("jsonschema"), ",") {
		if !strings.Contains(part, "=") {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ",")
}

func constrain(s *schema, key, value string) error {
	switch key {
	case "enum":
		var choice any = value
		if s.Type != "string" {
			if err := json.Unmarshal([]byte(value), &choice); err != nil {
				return fmt.Errorf("the field is of type %s: give such a value", s.Type)
			}
		}
		s.Enum = append(s.Enum, choice)
	case "pattern":
		s.Pattern = value
	case "minimum", "maximum":
		bound, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("give a number")
		}
		*map[string]**float64{"minimum": &s.Minimum, "maximum": &s.Maximum}[key] = &bound
	case "minLength", "maxLength", "minItems", "maxItems":
		count, err := strconv.Atoi(value)
		if err != nil || count < 0 {
			return fmt.Errorf("give a count")
		}
		*map[string]**int{
			"minLength": &s.MinLength, "maxLength": &s.MaxLength, "minItems": &s.MinItems, "maxItems": &s.MaxItems,
		}[key] = &count
	default:
		return fmt.Errorf("known are enum, pattern, minimum, maximum, minLength, maxLength, minItems and maxItems")
	}
	return nil
}
