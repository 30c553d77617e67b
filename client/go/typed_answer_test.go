package mlxwire

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

type colour string

func (colour) JSONSchema() json.RawMessage { return json.RawMessage(`{"enum":["red","blue"]}`) }

type node struct {
	Name  string `json:"name" jsonschema:"maxLength=6"`
	Child *node  `json:"child,omitempty"`
}

type base struct {
	ID    uint8 `json:"id"`
	Shade int   `json:"shade"`
}

type everything struct {
	base
	Shade  colour          `json:"shade"`
	When   time.Time       `json:"when"`
	Blob   []byte          `json:"blob,omitempty"`
	Pair   [2]bool         `json:"pair"`
	Counts map[int16]bool  `json:"counts,omitempty"`
	Quoted int             `json:"quoted,string"`
	Any    json.RawMessage `json:"any,omitempty"`
	Hidden func()          `json:"-"`
	Grade  string          `json:"grade" jsonschema:"enum=a,enum=b"`
	List   []int8          `json:"list" jsonschema:"maxItems=2"`
	inner  chan int
}

type reading struct {
	Shade colour    `json:"shade"`
	When  time.Time `json:"when"`
	Pair  [2]bool   `json:"pair"`
	Level int       `json:"level,string" jsonschema:"enum=1,enum=2"`
	List  []int8    `json:"list" jsonschema:"maxItems=2"`
}

type holder[T any] struct {
	Value T
}

func TestASchemaIsThatOfTheType(t *testing.T) {
	for _, each := range []struct {
		kind reflect.Type
		want string
	}{
		{reflect.TypeFor[int8](), `{"type":"integer","minimum":-128,"maximum":127}`},
		{reflect.TypeFor[*bool](), `{"anyOf":[{"type":"boolean"},{"type":"null"}]}`},
		{reflect.TypeFor[colour](), `{"enum":["red","blue"]}`},
		{reflect.TypeFor[[]any](), `{"type":"array","items":{}}`},
		{reflect.TypeFor[map[string]float64](), `{"type":"object","additionalProperties":{"type":"number"}}`},
		{reflect.TypeFor[node](), `{"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":{"name":{"type":"string","maxLength":6},` +
			`"child":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["name"],"additionalProperties":false}}}`},
		{reflect.TypeFor[holder[string]](), `{"$ref":"#/$defs/holder","$defs":{"holder":{"type":"object",` +
			`"properties":{"Value":{"type":"string"}},"required":["Value"],"additionalProperties":false}}}`},
	} {
		described, err := schemaFor(each.kind)
		if err != nil {
			t.Fatalf("%s: %v", each.kind, err)
		}
		written, err := json.Marshal(described)
		if err != nil || string(written) != each.want {
			t.Errorf("the schema of %s is %s, %v, want %s", each.kind, written, err, each.want)
		}
	}
}

func TestFieldsAreThoseThatEncodingJSONReads(t *testing.T) {
	described, err := schemaFor(reflect.TypeFor[everything]())
	if err != nil {
		t.Fatal(err)
	}
	object := described.Definitions["everything"]
	var names []string
	for _, each := range object.Properties {
		names = append(names, each.name)
	}
	if got, want := strings.Join(names, " "), "id shade when blob pair counts quoted any grade list"; got != want {
		t.Errorf("the properties are %s, want %s", got, want)
	}
	if got, want := strings.Join(object.Required, " "), "id shade when pair quoted grade list"; got != want {
		t.Errorf("required are %s, want %s", got, want)
	}
}

func TestATypeWithoutASchemaIsRefusedBeforeAnythingIsSent(t *testing.T) {
	model := new(Model) // it has no worker, so a request would panic
	refused := func(err error, words string) {
		t.Helper()
		if !errors.Is(err, ErrInvalidParams) || !strings.Contains(err.Error(), words) {
			t.Errorf("the error is %v, want %q in it", err, words)
		}
	}
	_, err := ChatInto[chan int](t.Context(), model, nil)
	refused(err, "chan int has no JSON")
	_, err = GenerateInto[holder[func()]](t.Context(), model, "p")
	refused(err, "Value: func() has no JSON")
	_, err = GenerateInto[map[float64]int](t.Context(), model, "p")
	refused(err, "keys that JSON can't have")
	_, err = GenerateInto[struct {
		N int `jsonschema:"minimum=none"`
	}](t.Context(), model, "p")
	refused(err, "minimum=none")
	_, err = GenerateInto[int](t.Context(), model, "p", WithResponseFormat(JSONObject()))
	refused(err, "WithResponseFormat")
}

func TestATypedAnswerIsAValueOfItsType(t *testing.T) {
	model := loadTiny(t)
	for seed := range uint32(4) {
		options := []RequestOption{WithMaxTokens(400), WithTemperature(1.5), WithSeed(seed)}
		value, err := ChatInto[reading](t.Context(), model, UserTurn("Hello"), options...)
		if err != nil {
			t.Fatal(err)
		}
		if value.Shade != "red" && value.Shade != "blue" || value.When.IsZero() || len(value.List) > 2 {
			t.Errorf("the value is %+v", value)
		}
		if _, err := GenerateInto[*node](t.Context(), model, "A tree:", options...); err != nil {
			t.Error(err)
		}
	}
}

func TestAnAnswerThatIsCutOffIsAnErrorWithItsText(t *testing.T) {
	model := loadTiny(t)
	_, err := ChatInto[reading](t.Context(), model, UserTurn("Hello"), WithThinking(false), WithMaxTokens(3))
	var failure *Error
	if !errors.As(err, &failure) || failure.Code != ErrInvalidAnswer || !strings.HasPrefix(failure.Answer, `{"`) {
		t.Fatalf("the error is %v", err)
	}
	if failure.Data["finish_reason"] != "length" || !strings.Contains(failure.Message, "WithMaxTokens") {
		t.Errorf("the error is %+v", failure)
	}
}

func TestAnAnswerIsReadStrictly(t *testing.T) {
	for _, text := range []string{`{"name":"a","other":1}`, `{"name":"a"} {}`, `{"name":1}`, ``} {
		if value, err := decodeStrictly[node](text); err == nil {
			t.Errorf("%q is read as %+v", text, value)
		}
	}
}
