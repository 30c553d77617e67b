//go:build !nomlxlm

package inference_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"testing"

	"github.com/mlxwire/mlxwire/client/go/inference"
)

func ExampleErrorStreamer() {
	answer := func(ctx context.Context, model inference.TextModel, prompt string) (string, error) {
		var text strings.Builder
		if streamer, ok := model.(inference.ErrorStreamer); ok {
			for token, err := range streamer.GenerateWithErr(ctx, prompt) {
				if err != nil {
					return text.String(), err // this stream's own
				}
				text.WriteString(token.Text)
			}
			return text.String(), nil
		}
		for token := range model.Generate(ctx, prompt) {
			text.WriteString(token.Text)
		}
		return text.String(), model.Err() // of whichever ended last: one stream at a time
	}
	model, err := inference.LoadModel("testdata/tiny")
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	text, err := answer(context.Background(), model, "2 + 3 =")
	fmt.Println(text, err)
}

func TestTheReadmesExampleIsTheOneThatCompiles(t *testing.T) {
	readme, source := flatten(t, "../README.md"), flatten(t, "example_test.go")
	_, section, found := strings.Cut(readme, "\n## Package inference\n")
	_, example, _ := strings.Cut(section, "\n```go\n")
	example, _, ended := strings.Cut(example, "```\n")
	if !found || !ended || !strings.Contains(source, example) {
		t.Errorf("the example is not in example_test.go:\n%s", example)
	}
}

// flatten is a file's text without indentation.
func flatten(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "\n")
}
