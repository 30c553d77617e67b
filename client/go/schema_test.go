package mlxwire

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// schemaType is the definition of one message in protocol/schema.
type schemaType struct {
	Properties map[string]json.RawMessage `json:"properties"`
	Required   []string                   `json:"required"`
}

func readSchema(t *testing.T) map[string]schemaType {
	t.Helper()
	text, err := os.ReadFile("../../protocol/schema/mlxwire-protocol-1.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Defs map[string]schemaType `json:"$defs"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	return schema.Defs
}

// envelopeFields are the fields that package wire reads.
var envelopeFields = map[string]bool{"id": true, "cmd": true, "type": true, "final": true, "ok": true, "done": true}

// wireFields lists the names of a type's fields.
func wireFields(message reflect.Type) []string {
	var names []string
	for i := range message.NumField() {
		f := message.Field(i)
		if f.Anonymous {
			names = append(names, wireFields(f.Type)...)
		} else if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

func requiredNames(message reflect.Type) (names []string) {
	for _, f := range replyFields(message) {
		if !f.optional {
			names = append(names, f.name)
		}
	}
	return names
}

func own(names []string, alsoDone bool) []string {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return envelopeFields[name] && !(alsoDone && name == "done")
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// compare checks that a Go type has the fields that the named definitions of the schema have together.
// addedLater are fields of a model's description that older workers of protocol 1 do not send, so that a client may not insist
// on them. The schema describes what this version's worker sends.
var addedLater = map[string]bool{"compute_dtype": true, "blas": true, "blas_threads": true, "warnings": true, "adapters": true, "quant_mode": true, "pooling": true}

func compare(t *testing.T, message reflect.Type, required bool, schema map[string]schemaType, names ...string) {
	t.Helper()
	var properties, always []string
	for i, name := range names {
		definition, ok := schema[name]
		if !ok {
			t.Fatalf("the schema has no %s", name)
		}
		properties = append(properties, slices.Collect(maps.Keys(definition.Properties))...)
		if i == 0 {
			always = slices.DeleteFunc(slices.Clone(definition.Required), func(field string) bool {
				return addedLater[field] && (name == "InfoResult" || name == "LoadResult")
			})
		}
	}
	for _, f := range replyFields(message) {
		property := string(schema[names[0]].Properties[f.name])
		if mayBeNull := strings.Contains(property, `"null"`); required && mayBeNull && !f.nullable {
			t.Errorf("%v can't take the null that %s may have", message, f.name)
		}
	}
	progress := names[0] == "Progress"
	if got, want := own(wireFields(message), progress), own(properties, progress); !slices.Equal(got, want) {
		t.Errorf("%v has the fields %q, the schema of %q has %q", message, got, names, want)
	}
	if got, want := own(requiredNames(message), progress), own(always, progress); required && !slices.Equal(got, want) {
		t.Errorf("%v always has %q, the schema of %q says %q", message, got, names, want)
	}
}

func TestRequestsHaveTheFieldsOfTheSchema(t *testing.T) {
	schema := readSchema(t)
	for message, name := range map[reflect.Type]string{
		reflect.TypeFor[helloFields]():      "Hello",
		reflect.TypeFor[clientInfo]():       "ClientInfo",
		reflect.TypeFor[loadFields]():       "Load",
		reflect.TypeFor[cancelFields]():     "Cancel",
		reflect.TypeFor[creditFields]():     "Credit",
		reflect.TypeFor[cacheFields]():      "Cache",
		reflect.TypeFor[memoryFields]():     "Memory",
		reflect.TypeFor[detokenizeFields](): "Detokenize",
		reflect.TypeFor[inspectFields]():    "Inspect",
		reflect.TypeFor[adapterFields]():    "Adapter",
		reflect.TypeFor[noFields]():         "Quit",
	} {
		compare(t, message, true, schema, name)
	}
	// The client leaves options out where others write null.
	for message, name := range map[reflect.Type]string{
		reflect.TypeFor[trainFields]():    "Train",
		reflect.TypeFor[evaluateFields](): "Evaluate",
	} {
		compare(t, message, false, schema, name)
	}
	// The client sends turns and receives none: it leaves fields out where others write null.
	compare(t, reflect.TypeFor[Message](), false, schema, "Message")
	if got := own(requiredNames(reflect.TypeFor[Message]()), false); !slices.Equal(got, []string{"content", "role"}) {
		t.Errorf("Message always has %q", got)
	}
	// Each of these requests has some of the shared options.
	union := []string{"Generate", "Chat", "Batch", "Classify", "Tokenize", "Render", "Embed", "Score", "Rerank", "Discover"}
	var properties []string
	for _, name := range union {
		properties = append(properties, slices.Collect(maps.Keys(schema[name].Properties))...)
	}
	ours := slices.Concat(
		wireFields(reflect.TypeFor[generateFields]()), wireFields(reflect.TypeFor[chatFields]()),
		wireFields(reflect.TypeFor[batchFields]()), wireFields(reflect.TypeFor[classifyFields]()),
		wireFields(reflect.TypeFor[tokenizeFields]()), wireFields(reflect.TypeFor[renderFields]()),
		wireFields(reflect.TypeFor[embedFields]()), wireFields(reflect.TypeFor[scoreFields]()),
		wireFields(reflect.TypeFor[rerankFields]()), wireFields(reflect.TypeFor[discoverFields]()))
	if got, want := own(ours, false), own(properties, false); !slices.Equal(got, want) {
		t.Errorf("the options are %q, the schema has %q", got, want)
	}
	for message, name := range map[reflect.Type]string{
		reflect.TypeFor[generateFields](): "Generate", reflect.TypeFor[chatFields](): "Chat",
		reflect.TypeFor[batchFields](): "Batch", reflect.TypeFor[classifyFields](): "Classify",
		reflect.TypeFor[tokenizeFields](): "Tokenize", reflect.TypeFor[renderFields](): "Render",
		reflect.TypeFor[embedFields](): "Embed", reflect.TypeFor[scoreFields](): "Score",
		reflect.TypeFor[rerankFields](): "Rerank", reflect.TypeFor[discoverFields](): "Discover",
	} {
		if got, want := own(requiredNames(message), false), own(schema[name].Required, false); !slices.Equal(got, want) {
			t.Errorf("%s always has %q, the schema says %q", name, got, want)
		}
	}
}

func TestAFitHasTheFieldsOfTheSchemaAndOfALoad(t *testing.T) {
	schema := readSchema(t)
	compare(t, reflect.TypeFor[fitFields](), false, schema, "Load")
	ours := wireFields(reflect.TypeFor[fitFields]())
	for field := range schema["Fit"].Properties {
		if !slices.Contains(ours, field) && !envelopeFields[field] {
			t.Errorf("fit has no field %s", field)
		}
	}
}

func TestRepliesHaveTheFieldsOfTheSchema(t *testing.T) {
	schema := readSchema(t)
	compare(t, reflect.TypeFor[Progress](), true, schema, "Progress")
	compare(t, reflect.TypeFor[Done](), true, schema, "Done", "CancelledDone", "FormattedDone", "ToolDone")
	compare(t, reflect.TypeFor[ToolCall](), true, schema, "ToolCall")
	compare(t, reflect.TypeFor[ToolError](), true, schema, "ToolError")
	compare(t, reflect.TypeFor[Metrics](), true, schema, "RequestMetrics")
	compare(t, reflect.TypeFor[WorkerMetrics](), true, schema, "MetricsResult")
	compare(t, reflect.TypeFor[ModelInfo](), true, schema, "InfoResult")
	compare(t, reflect.TypeFor[Loaded](), true, schema, "LoadResult")
	compare(t, reflect.TypeFor[Hello](), true, schema, "HelloResult")
	compare(t, reflect.TypeFor[WorkerIdentity](), true, schema, "WorkerIdentity")
	compare(t, reflect.TypeFor[Limits](), true, schema, "Limits")
	compare(t, reflect.TypeFor[ClassifyResult](), true, schema, "Item")
	compare(t, reflect.TypeFor[batchItem](), true, schema, "BatchItem", "FormattedItem")
	compare(t, reflect.TypeFor[failedItem](), false, schema, "FailedItem")
	compare(t, reflect.TypeFor[Embedding](), true, schema, "EmbeddingItem")
	compare(t, reflect.TypeFor[ScoreResult](), true, schema, "ScoreItem")
	compare(t, reflect.TypeFor[rerankResult](), true, schema, "RerankResult")
	compare(t, reflect.TypeFor[RankedDocument](), true, schema, "Ranked")
	compare(t, reflect.TypeFor[Rendered](), true, schema, "RenderResult")
	compare(t, reflect.TypeFor[RenderedMessage](), true, schema, "RenderedMessage")
	compare(t, reflect.TypeFor[FoundModel](), true, schema, "FoundModel")
	compare(t, reflect.TypeFor[FoundAdapter](), true, schema, "FoundAdapter")
	compare(t, reflect.TypeFor[FitResult](), true, schema, "FitResult")
	compare(t, reflect.TypeFor[CancelResult](), true, schema, "CancelResult")
	compare(t, reflect.TypeFor[CacheStats](), true, schema, "CacheResult")
	compare(t, reflect.TypeFor[Tokenized](), true, schema, "TokenizeResult")
	compare(t, reflect.TypeFor[detokenized](), true, schema, "DetokenizeResult")
	compare(t, reflect.TypeFor[Inspected](), true, schema, "InspectResult")
	compare(t, reflect.TypeFor[AdapterInfo](), true, schema, "AdapterInfo")
	compare(t, reflect.TypeFor[TrainProgress](), true, schema, "TrainProgress")
	compare(t, reflect.TypeFor[TrainResult](), true, schema, "TrainResult")
	compare(t, reflect.TypeFor[EvaluateResult](), true, schema, "EvaluateResult")
	compare(t, reflect.TypeFor[Memory](), true, schema, "MemoryResult")
	compare(t, reflect.TypeFor[eventMessage](), true, schema, "Event")
	compare(t, reflect.TypeFor[errorReply](), true, schema, "Error")
	compare(t, reflect.TypeFor[errorBody](), false, schema, "ErrorBody")
}
