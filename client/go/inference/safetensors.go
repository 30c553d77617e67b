//go:build !nomlxlm

package inference

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
)

// An array of a safetensors file: its type, its shape, and where its bytes are behind the header.
type arrayHeader struct {
	Dtype   string `json:"dtype"`
	Shape   []int  `json:"shape"`
	Offsets [2]int `json:"data_offsets"`
}

// readArrays reads a safetensors file of float32 arrays, each as one flat list for each index of its first
// axis. A file is 8 bytes with the size of the header, the header as JSON, and the arrays' bytes.
func readArrays(path string) (map[string][][]float32, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(file) < 8 {
		return nil, errors.New("the file has no header")
	}
	size, content := binary.LittleEndian.Uint64(file), file[8:]
	if size > uint64(len(content)) {
		return nil, errors.New("the header of the file is cut")
	}
	var headers map[string]json.RawMessage
	if err := json.Unmarshal(content[:size], &headers); err != nil {
		return nil, err
	}
	content = content[size:]
	arrays := make(map[string][][]float32, len(headers))
	for name, text := range headers {
		if name == "__metadata__" {
			continue
		}
		var header arrayHeader
		if err := json.Unmarshal(text, &header); err != nil {
			return nil, err
		}
		if arrays[name], err = header.read(content); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return arrays, nil
}

func (h arrayHeader) read(content []byte) ([][]float32, error) {
	begin, end := h.Offsets[0], h.Offsets[1]
	if h.Dtype != "F32" || len(h.Shape) == 0 || h.Shape[0] < 1 || begin < 0 || end < begin || end > len(content) {
		return nil, errors.New("not an array of float32 within the file")
	}
	rows := make([][]float32, h.Shape[0])
	numbers := content[begin:end]
	width := len(numbers) / len(rows)
	if width*len(rows) != len(numbers) || width%4 != 0 {
		return nil, errors.New("its bytes do not fit its shape")
	}
	for i := range rows {
		row := make([]float32, width/4)
		for j := range row {
			row[j] = math.Float32frombits(binary.LittleEndian.Uint32(numbers[i*width+4*j:]))
		}
		rows[i] = row
	}
	return rows, nil
}
