package mlxwire

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
)

func TestARowOfLogitsHasMinusInfinityForNull(t *testing.T) {
	var row Logits
	if err := json.Unmarshal([]byte(" [1.5, null,-2e1 ,0] "), &row); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(row, Logits{1.5, float32(math.Inf(-1)), -20, 0}) {
		t.Errorf("the row is %v", row)
	}
	for _, text := range []string{`{}`, `"x"`, `["x"]`, `[[1]]`, `[true]`, `[1e999]`} {
		if err := json.Unmarshal([]byte(text), &row); err == nil {
			t.Errorf("%s was read as %v", text, row)
		}
	}
}

func FuzzLogits(f *testing.F) {
	f.Add([]byte(`[1.5,null,-2e1]`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var row Logits
		var want []*float32
		rowErr, wantErr := json.Unmarshal(text, &row), json.Unmarshal(text, &want)
		if (rowErr == nil) != (wantErr == nil) || rowErr == nil && len(row) != len(want) {
			t.Fatalf("%q gave %v, %v; encoding/json gave %v, %v", text, row, rowErr, want, wantErr)
		}
		for i := range want {
			if rowErr == nil && want[i] != nil && row[i] != *want[i] {
				t.Fatalf("%q: number %d is %v, want %v", text, i, row[i], *want[i])
			}
		}
	})
}
