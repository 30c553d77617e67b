package mlxwire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// matchers are the placeholders of a transcript's patterns, each with a value that matches.
var matchers = map[string]any{
	"$string": "s", "$number": 1, "$bool": true, "$object": map[string]any{}, "$array": []any{}, "$any": nil,
}

// concrete replaces placeholders by values. It sets partial if a pattern allows more entries.
func concrete(pattern any, partial *bool) any {
	switch pattern := pattern.(type) {
	case string:
		if value, ok := matchers[pattern]; ok {
			return value
		}
		text, _ := strings.CutPrefix(pattern, "$prefix:")
		return text
	case []any:
		for i := range pattern {
			pattern[i] = concrete(pattern[i], partial)
		}
	case map[string]any:
		if _, ok := pattern["..."]; ok {
			*partial = true
			delete(pattern, "...")
		}
		for name := range pattern {
			pattern[name] = concrete(pattern[name], partial)
		}
	}
	return pattern
}

func TestTheClientReadsEveryReplyOfTheTranscripts(t *testing.T) {
	files, err := filepath.Glob("../../testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts were found: %v", err)
	}
	count := 0
	for _, file := range files {
		if strings.HasPrefix(filepath.Base(file), "dialect0") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		commands := make(map[string]string)
		for _, line := range strings.Split(string(text), "\n") {
			mark, rest, _ := strings.Cut(line, " ")
			switch mark {
			case ">":
				noteCommand(commands, rest)
			case ">hex":
				raw, err := hex.DecodeString(rest)
				if err != nil {
					t.Fatal(err)
				}
				for piece := range strings.SplitSeq(string(raw), "\n") {
					noteCommand(commands, piece)
				}
			case "<", "<!", "<*":
				if readPattern(t, filepath.Base(file), rest, commands) {
					count++
				}
			}
		}
	}
	if count < 100 {
		t.Errorf("only %d replies were read", count)
	}
}

// noteCommand records which command a request id belongs to.
func noteCommand(commands map[string]string, line string) {
	var request scriptedRequest
	if json.Unmarshal([]byte(line), &request) == nil && request.ID != "" && commands[request.ID] == "" {
		commands[request.ID] = request.Cmd
	}
}

// readPattern reads one reply as the client does. It returns false for a reply of dialect 0.
func readPattern(t *testing.T, file, line string, commands map[string]string) bool {
	t.Helper()
	var pattern map[string]any
	if err := json.Unmarshal([]byte(line), &pattern); err != nil {
		t.Errorf("%s: the pattern %s is not JSON: %v", file, line, err)
		return false
	}
	kind, typed := pattern["type"].(string)
	if !typed {
		return false
	}
	id, _ := pattern["id"].(string)
	partial := false
	reply, err := json.Marshal(concrete(pattern, &partial))
	if err != nil {
		t.Fatal(err)
	}
	if err := readAs(kind, commands[id], reply); err != nil && !partial {
		t.Errorf("%s: the client can't read %s: %v", file, line, err)
	}
	return true
}

// readAs reads a reply as the type that its command has.
func readAs(kind, command string, line []byte) (err error) {
	switch kind + " " + command {
	case "result hello":
		_, err = decodeReply[Hello](line)
	case "result load":
		_, err = decodeReply[Loaded](line)
	case "result info":
		_, err = decodeReply[ModelInfo](line)
	case "result cancel":
		_, err = decodeReply[CancelResult](line)
	case "result credit":
		_, err = decodeReply[creditResult](line)
	case "result cache":
		_, err = decodeReply[CacheStats](line)
	case "result adapter":
		_, err = decodeReply[adapterResult](line)
	case "result train":
		_, err = decodeReply[TrainResult](line)
	case "result evaluate":
		_, err = decodeReply[EvaluateResult](line)
	case "result tokenize":
		_, err = decodeReply[Tokenized](line)
	case "result detokenize":
		_, err = decodeReply[detokenized](line)
	case "result memory":
		_, err = decodeReply[Memory](line)
	case "result metrics":
		_, err = decodeReply[WorkerMetrics](line)
	case "item batch":
		_, err = decodeReply[batchItem](line)
	case "item classify":
		_, err = readClassified(&request{}, line)
	case "item embed":
		if !bytes.Contains(line, []byte(`"embedding":[`)) { // this client asks for base64
			_, err = readEmbedding(&request{}, line)
		}
	case "item score":
		_, err = readScore(&request{}, line)
	case "item discover":
		_, err = readFound(&request{}, line)
	case "result render":
		_, err = decodeReply[Rendered](line)
	case "result rerank":
		_, err = decodeReply[rerankResult](line)
	case "result fit":
		_, err = decodeReply[FitResult](line)
	case "result unload", "result quit", "result generate":
	default:
		return readAnyCommand(kind, line)
	}
	return err
}

func readAnyCommand(kind string, line []byte) (err error) {
	switch kind {
	case "token":
		_, err = wire.ReadToken(line)
	case "tool_call":
		_, err = wire.ReadToolCall(line)
	case "done":
		_, err = decodeReply[Done](line)
	case "progress":
		_, err = decodeReply[Progress](line)
	case "event":
		_, err = decodeReply[eventMessage](line)
	case "error":
		_, err = errorFromReply(line)
	default:
		err = errors.New("a reply of an unknown type")
	}
	return err
}
