package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A vector is one case of testdata/framing; its README describes the fields.
type vector struct {
	Name         string            `json:"name"`
	MaxLineBytes int               `json:"max_line_bytes"`
	Input        json.RawMessage   `json:"input"`
	Lines        []json.RawMessage `json:"lines"`
	End          json.RawMessage   `json:"end"`
}

func readVectors(t *testing.T) []vector {
	t.Helper()
	files, err := filepath.Glob("../../../../testdata/framing/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no framing vectors were found: %v", err)
	}
	var all []vector
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var vectors []vector
		if err := json.Unmarshal(text, &vectors); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, vectors...)
	}
	return all
}

// assemble returns the bytes of a vector's string or list of parts.
func assemble(t *testing.T, raw json.RawMessage) []byte {
	t.Helper()
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []byte(text)
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, part := range parts {
		var piece struct {
			Hex    string `json:"hex"`
			Repeat string `json:"repeat"`
			Times  int    `json:"times"`
		}
		if json.Unmarshal(part, &text) == nil {
			all = append(all, text...)
			continue
		}
		if err := json.Unmarshal(part, &piece); err != nil {
			t.Fatal(err)
		}
		decoded, err := hex.DecodeString(piece.Hex)
		if err != nil {
			t.Fatal(err)
		}
		all = append(append(all, decoded...), strings.Repeat(piece.Repeat, piece.Times)...)
	}
	return all
}

func expectedLine(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	var long struct {
		TooLong json.RawMessage `json:"too_long"`
	}
	if json.Unmarshal(raw, &long) == nil && long.TooLong != nil {
		return "too long: " + string(assemble(t, long.TooLong))
	}
	return string(assemble(t, raw))
}

func describe(line Line) string {
	if line.TooLong {
		return "too long: " + string(line.Bytes)
	}
	return string(line.Bytes)
}

// split returns all lines of a stream that arrives in chunks, and its unterminated last line.
func split(maxLineBytes int, chunks ...[]byte) (lines []string, end *string) {
	splitter := NewLineSplitter(maxLineBytes)
	for _, chunk := range chunks {
		for line := range splitter.Feed(bytes.Clone(chunk)) {
			lines = append(lines, describe(line))
		}
	}
	if line, ok := splitter.End(); ok {
		last := describe(line)
		end = &last
	}
	return lines, end
}

func TestEveryFramingVectorGivesItsLinesInAnyPieces(t *testing.T) {
	for _, v := range readVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			input := assemble(t, v.Input)
			if v.MaxLineBytes == 0 {
				v.MaxLineBytes = DefaultMaxLineBytes
			}
			var wantLines []string
			for _, line := range v.Lines {
				wantLines = append(wantLines, expectedLine(t, line))
			}
			var wantEnd *string
			if string(v.End) != "null" {
				last := expectedLine(t, v.End)
				wantEnd = &last
			}
			check := func(how string, chunks ...[]byte) {
				lines, end := split(v.MaxLineBytes, chunks...)
				if !slices.Equal(lines, wantLines) {
					t.Fatalf("%s: the lines are %.300q, want %.300q", how, lines, wantLines)
				}
				if (end == nil) != (wantEnd == nil) || end != nil && *end != *wantEnd {
					t.Fatalf("%s: the unterminated last line is wrong", how)
				}
			}
			for _, cut := range cuts(input) {
				check(fmt.Sprintf("cut at %d", cut), input[:cut], input[cut:])
			}
			if len(input) <= 1<<17 {
				check("byte by byte", slices.Collect(slices.Chunk(input, 1))...)
			}
		})
	}
}

// cuts returns all positions of a short stream; of a long one, those beside each line's end.
func cuts(input []byte) []int {
	var places []int
	for place := 0; place <= len(input); place++ {
		beside := place == 0 || place == len(input) || input[place] == '\n' || input[place-1] == '\n'
		if len(input) <= 4096 || beside {
			places = append(places, place)
		}
	}
	return places
}

func TestALongLineInPiecesIsScannedOnce(t *testing.T) {
	splitter := NewLineSplitter(DefaultMaxLineBytes)
	piece := bytes.Repeat([]byte{'x'}, 1<<10)
	for range 1 << 13 {
		for range splitter.Feed(piece) {
			t.Fatal("a line was given before its end arrived")
		}
	}
	for line := range splitter.Feed([]byte("\n")) {
		if len(line.Bytes) != 1<<23 {
			t.Errorf("the line has %d bytes", len(line.Bytes))
		}
	}
}

func TestMemoryOfALineThatNeverEndsIsBounded(t *testing.T) {
	splitter := NewLineSplitter(1 << 16)
	piece := bytes.Repeat([]byte{'x'}, 1<<16)
	for range 1000 {
		for range splitter.Feed(piece) {
			t.Fatal("a line was given before its end arrived")
		}
	}
	if held := cap(splitter.tail); held > 1<<18 {
		t.Errorf("the splitter holds %d bytes", held)
	}
}

func FuzzLineSplitter(f *testing.F) {
	f.Add([]byte("{}\n\r\n{\"a\":1}\r\nxx"), uint8(3), uint8(8))
	f.Fuzz(func(t *testing.T, input []byte, size, limit uint8) {
		whole, wholeEnd := split(int(limit), input)
		pieces, piecesEnd := split(int(limit), slices.Collect(slices.Chunk(input, int(size)+1))...)
		if !slices.Equal(whole, pieces) || (wholeEnd == nil) != (piecesEnd == nil) {
			t.Errorf("in one piece the lines are %q, in pieces of %d %q", whole, int(size)+1, pieces)
		}
	})
}
