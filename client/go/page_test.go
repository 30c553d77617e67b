package mlxwire

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// client/README.md says how each concept is called in each language. A Python test checks that its
// names exist; this test checks that no option of this client is missing.

func TestThePageOfTheClientsNamesEveryOption(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	names := slices.Concat(declaredOptions(t, "start_options.go"),
		declaredOptions(t, "load_options.go"), declaredOptions(t, "request_options.go"))
	if len(names) < 50 {
		t.Fatalf("only %d options were found in the sources", len(names))
	}
	for _, name := range names {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("%s is missing on the page", name)
		}
	}
	for _, settings := range []any{LivenessLimits{}, MemoryLimits{}, RestartPolicy{}, ShutdownLimits{}} {
		owner := reflect.TypeOf(settings)
		_, table, found := strings.Cut(page, "| Go: `"+owner.Name()+"` |")
		table, _, _ = strings.Cut(table, "\n\n")
		if !found {
			t.Errorf("%s has no table on the page", owner.Name())
		}
		for i := range owner.NumField() {
			if name := owner.Field(i).Name; !strings.Contains(table, "| `"+name+"` |") {
				t.Errorf("%s.%s is missing in its table", owner.Name(), name)
			}
		}
	}
}

// declaredOptions lists the options that a file declares.
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
