package mlxwire

import (
	"fmt"
	"reflect"
	"strings"
)

// jsonFields returns the fields that encoding/json reads: of two with one name, the outer one.
func jsonFields(kind reflect.Type) []reflect.StructField {
	depths := map[string]int{}
	hidden := map[string]bool{} // by the index of a field that is embedded under a name of its own
	var visible []reflect.StructField
	for _, field := range reflect.VisibleFields(kind) {
		inside := false
		for depth := 1; depth < len(field.Index); depth++ {
			inside = inside || hidden[fmt.Sprint(field.Index[:depth])]
		}
		name, _ := jsonTag(field)
		tag := field.Tag.Get("json")
		tagged := tag != "" && !strings.HasPrefix(tag, ",")
		if field.Anonymous && tagged {
			hidden[fmt.Sprint(field.Index)] = true
		}
		embedded := field.Type
		if embedded.Kind() == reflect.Pointer {
			embedded = embedded.Elem()
		}
		flattened := field.Anonymous && !tagged && embedded.Kind() == reflect.Struct
		if inside || flattened || !field.IsExported() || tag == "-" {
			continue
		}
		if depth, known := depths[name]; !known || len(field.Index) < depth {
			depths[name] = len(field.Index)
		}
		visible = append(visible, field)
	}
	var chosen []reflect.StructField
	for _, field := range visible {
		name, _ := jsonTag(field)
		if depths[name] == len(field.Index) {
			chosen = append(chosen, field)
			depths[name] = -1
		}
	}
	return chosen
}

func jsonTag(field reflect.StructField) (name string, options map[string]bool) {
	parts := strings.Split(field.Tag.Get("json"), ",")
	options = map[string]bool{}
	for _, option := range parts[1:] {
		options[option] = true
	}
	if parts[0] == "" {
		return field.Name, options
	}
	return parts[0], options
}
