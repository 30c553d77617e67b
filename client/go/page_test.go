package mlxwire

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// client/README.md tells how each concept is called in each language. That its names exist is
// held elsewhere; that it leaves out nothing that one can set, here.

func TestEveryOptionIsOnThePageOfTheClients(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	names := slices.Concat(declaredOptions(t, "start_options.go"),
		declaredOptions(t, "load_options.go"), declaredOptions(t, "request_options.go"))
	if len(names) < 50 {
		t.Fatalf("only %d options were found", len(names))
	}
	for _, name := range names {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("%s is not on the page", name)
		}
	}
	for _, settings := range []any{LivenessLimits{}, MemoryLimits{}, RestartPolicy{}, ShutdownLimits{}} {
		owner := reflect.TypeOf(settings)
		_, table, found := strings.Cut(page, "| Go: `"+owner.Name()+"` |")
		table, _, _ = strings.Cut(table, "\n\n")
		if !found {
			t.Errorf("%s has no table", owner.Name())
		}
		for i := range owner.NumField() {
			if name := owner.Field(i).Name; !strings.Contains(table, "| `"+name+"` |") {
				t.Errorf("%s.%s is not in its table", owner.Name(), name)
			}
		}
	}
}

// declaredOptions are the names of a file's options.
func declaredOptions(t *testing.T, file string) (names []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`(?m)^func (With\w+)\(`).FindAllStringSubmatch(string(text), -1) {
		names = append(names, found[1])
	}
	return names
}
