package mlxwire

import "encoding/json"

// A ResponseFormat is the form that the text of an answer must have; give it to WithResponseFormat.
type ResponseFormat struct {
	kind   string
	fields map[string]any
}

// MarshalJSON writes the format as the protocol has it.
func (f ResponseFormat) MarshalJSON() ([]byte, error) {
	object := map[string]any{"type": f.kind}
	for name, value := range f.fields {
		object[name] = value
	}
	return json.Marshal(object)
}

// JSONObject is the form of any JSON object.
func JSONObject() ResponseFormat {
	return ResponseFormat{kind: "json_object"}
}

// JSONSchema is the form of the instances of a schema: a value whose JSON is a JSON Schema, or a
// json.RawMessage. A schema that can't be enforced whole is refused.
func JSONSchema(name string, schema any) ResponseFormat {
	return ResponseFormat{kind: "json_schema", fields: map[string]any{
		"json_schema": map[string]any{"name": name, "schema": schema},
	}}
}

// Lenient lets what can't be enforced of a JSONSchema up to the model; Done.SchemaValid then tells
// if the text is an instance.
func (f ResponseFormat) Lenient() ResponseFormat {
	described, isSchema := f.fields["json_schema"].(map[string]any)
	if !isSchema {
		return f
	}
	lenient := map[string]any{"strict": false}
	for name, value := range described {
		lenient[name] = value
	}
	return ResponseFormat{kind: f.kind, fields: map[string]any{"json_schema": lenient}}
}

// Regex is the form of the texts that a regular expression matches whole.
func Regex(expression string) ResponseFormat {
	return ResponseFormat{kind: "regex", fields: map[string]any{"regex": expression}}
}

// Grammar is the form of a context-free grammar in a syntax: "lark" (llguidance's variant of it)
// or "gbnf" (llama.cpp's).
func Grammar(grammar, syntax string) ResponseFormat {
	return ResponseFormat{kind: "grammar", fields: map[string]any{"grammar": grammar, "syntax": syntax}}
}
