package mlxwire

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
)

// Logits is a row over the vocabulary.
type Logits []float32

// UnmarshalJSON reads a list of numbers and nulls. A row has as many as the vocabulary, for
// which encoding/json would take a pointer each.
func (l *Logits) UnmarshalJSON(text []byte) error {
	text = bytes.TrimSpace(text)
	if string(text) == "null" {
		*l = nil
		return nil
	}
	if len(text) < 2 || text[0] != '[' {
		return fmt.Errorf("logits are no list: %.40s", text)
	}
	text = text[1 : len(text)-1]
	row := make(Logits, 0, bytes.Count(text, []byte{','})+1)
	for rest := bytes.TrimSpace(text); len(rest) > 0; {
		var number []byte
		number, rest, _ = bytes.Cut(rest, []byte{','})
		value, err := parseLogit(bytes.TrimSpace(number))
		if err != nil {
			return err
		}
		row = append(row, value)
	}
	*l = row
	return nil
}

func parseLogit(number []byte) (float32, error) {
	if string(number) == "null" {
		return float32(math.Inf(-1)), nil
	}
	value, err := strconv.ParseFloat(string(number), 32)
	if err != nil {
		return 0, fmt.Errorf("a logit is no number: %.40s", number)
	}
	return float32(value), nil
}
