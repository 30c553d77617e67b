package wire

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"testing"
)

// schemaCommand is one row of "x-commands" in protocol/schema.
type schemaCommand struct {
	Final      string `json:"final"`
	Lane       Lane   `json:"lane"`
	NeedsModel bool   `json:"needs_model"`
	Actions    map[string]struct {
		Lane Lane `json:"lane"`
	} `json:"actions"`
}

func TestTheTableOfCommandsIsThatOfTheSchema(t *testing.T) {
	text, err := os.ReadFile("../../../../protocol/schema/mlxwire-protocol-1.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Commands map[string]schemaCommand `json:"x-commands"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	ours := make(map[string]*Command)
	for _, command := range Commands {
		ours[command.Name] = command
	}
	if got, want := slices.Sorted(maps.Keys(ours)), slices.Sorted(maps.Keys(schema.Commands)); !slices.Equal(got, want) {
		t.Errorf("the client knows the commands %q, the schema has %q", got, want)
	}
	for name, want := range schema.Commands {
		got, known := ours[name]
		if !known {
			continue
		}
		if got.Final != want.Final || got.Lane != want.Lane || got.NeedsModel != want.NeedsModel {
			t.Errorf("%s: the table says %+v, the schema %+v", name, *got, want)
		}
		lanes := make(map[string]Lane)
		for action, row := range want.Actions {
			if row.Lane != want.Lane {
				lanes[action] = row.Lane
			}
		}
		if !maps.Equal(got.Actions, lanes) {
			t.Errorf("%s: its actions have the lanes %v, those of the schema %v", name, got.Actions, lanes)
		}
	}
}
