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
					return text.String(), err // belongs to this stream
				}
				text.WriteString(token.Text)
			}
			return text.String(), nil
		}
		for token := range model.Generate(ctx, prompt) {
			text.WriteString(token.Text)
		}
		return text.String(), model.Err() // belongs to the last stream of this goroutine
	}
	model, err := inference.LoadModel("testdata/tiny")
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	text, err := answer(context.Background(), model, "2 + 3 =")
	fmt.Println(text, err)
}

func TestTheExampleOfTheReadmeIsTheOneThatCompiles(t *testing.T) {
	readme, source := flatten(t, "../README.md"), flatten(t, "example_test.go")
	_, section, found := strings.Cut(readme, "\n## Package inference\n")
	_, example, _ := strings.Cut(section, "\n```go\n")
	example, _, ended := strings.Cut(example, "```\n")
	if !found || !ended || !strings.Contains(source, example) {
		t.Errorf("README.md has an example that example_test.go does not have:\n%s", example)
	}
}

// flatten returns a file's text without indentation.
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
