//go:build !nomlxlm

package inference

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

func TestADamagedFileOfArraysIsAnError(t *testing.T) {
	whole := func(header, content string) []byte {
		return append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header+content...)
	}
	array := `{"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"__metadata__":{"x":"y"}}`
	path := filepath.Join(t.TempDir(), "x")
	read := func(file []byte) (map[string][][]float32, error) {
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		return readArrays(path)
	}
	if arrays, err := read(whole(array, "\x00\x00\x80\x3f\x00\x00\x00\x40")); err != nil || len(arrays) != 1 || arrays["a"][0][0] != 1 || arrays["a"][1][0] != 2 {
		t.Errorf("a whole file gave %v, %v", arrays, err)
	}
	for name, file := range map[string][]byte{
		"nothing":      nil,
		"a cut header": whole(array, "")[:20],
		"no JSON":      whole("{", ""),
		"cut content":  whole(array, "\x00\x00\x80\x3f"),
		"another type": whole(`{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}`, "\x00\x00\x00\x00"),
		"no shape":     whole(`{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`, "\x00\x00\x00\x00"),
		"odd bytes":    whole(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,6]}}`, "\x00\x00\x00\x00\x00\x00"),
		"a wrong kind": whole(`{"a":7}`, ""),
	} {
		if arrays, err := read(file); err == nil {
			t.Errorf("%s gave %v", name, arrays)
		}
	}
}
