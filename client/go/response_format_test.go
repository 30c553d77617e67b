package mlxwire

import (
	"encoding/json"
	"testing"
)

func TestAResponseFormatHasTheShapeOfTheProtocol(t *testing.T) {
	schema := json.RawMessage(`{"type":"integer"}`)
	for _, each := range []struct {
		format ResponseFormat
		want   string
	}{
		{JSONObject(), `{"type":"json_object"}`},
		{JSONSchema("n", schema), `{"json_schema":{"name":"n","schema":{"type":"integer"}},"type":"json_schema"}`},
		{JSONSchema("n", schema).Lenient(), `{"json_schema":{"name":"n","schema":{"type":"integer"},"strict":false},"type":"json_schema"}`},
		{Regex("[a-z]+").Lenient(), `{"regex":"[a-z]+","type":"regex"}`},
		{Grammar(`root ::= "a"`, "gbnf"), `{"grammar":"root ::= \"a\"","syntax":"gbnf","type":"grammar"}`},
	} {
		written, err := json.Marshal(each.format)
		if err != nil || string(written) != each.want {
			t.Errorf("the format is %s, %v, want %s", written, err, each.want)
		}
	}
}

func TestTheFormOfAnAnswerIsRead(t *testing.T) {
	var done Done
	if err := json.Unmarshal([]byte(`{"complete":true,"schema_valid":false}`), &done); err != nil {
		t.Fatal(err)
	}
	if !done.Complete || done.SchemaValid == nil || *done.SchemaValid {
		t.Errorf("the end of the stream is %+v", done)
	}
	item := batchItem{Complete: true}
	if !item.result().Complete {
		t.Error("the item of a batch loses `complete`")
	}
}
