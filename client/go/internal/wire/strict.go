package wire

import (
	"errors"
	"fmt"
	"strconv"
)

// maxDepth is how many objects and lists may lie inside each other (SPEC §1).
const maxDepth = 1024

// checkStrict refuses what SPEC §1 forbids and encoding/json accepts, anywhere in a line that is valid
// JSON: a number beyond a double's range, an unpaired surrogate, and deep nesting.
func checkStrict(line []byte) error {
	depth := 0
	for i := 0; i < len(line); {
		switch b := line[i]; {
		case b == '"':
			end, ok := skipString(line, i+1)
			if !ok {
				return errors.New("the worker sent a string with an unpaired surrogate")
			}
			i = end
			continue
		case b == '-' || b-'0' <= 9:
			end, large := skipNumber(line, i+1)
			if large {
				if _, err := strconv.ParseFloat(string(line[i:end]), 64); err != nil {
					return fmt.Errorf("the worker sent the number %.40s, which is beyond the range of a double", line[i:end])
				}
			}
			i = end
			continue
		case b == '{' || b == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("the worker sent more than %d objects and lists inside each other", maxDepth)
			}
		case b == '}' || b == ']':
			depth--
		}
		i++
	}
	return nil
}

// skipNumber returns where a number ends, and whether it may be beyond the range of a double. A row of
// logits has as many numbers as the vocabulary has tokens, so few of them are parsed.
func skipNumber(line []byte, i int) (end int, large bool) {
	const safeDigits = 300
	for end = i; end < len(line); end++ {
		switch b := line[end]; {
		case b == 'e' || b == 'E':
			large = true
		case b-'0' > 9 && b != '.' && b != '+' && b != '-':
			return end, large || end-i > safeDigits
		}
	}
	return end, large || end-i > safeDigits
}

// skipString returns where a string ends, given where its text begins. It returns false at an escaped
// surrogate without its other half.
func skipString(line []byte, i int) (end int, ok bool) {
	for line[i] != '"' {
		if line[i] != '\\' {
			i++
			continue
		}
		unit, escaped := codeUnit(line[i:])
		switch {
		case !escaped:
			i += 2
		case unit>>10 == 0xD800>>10: // a first half
			if second, escaped := codeUnit(line[i+6:]); !escaped || second>>10 != 0xDC00>>10 {
				return 0, false
			}
			i += 12
		case unit>>10 == 0xDC00>>10:
			return 0, false
		default:
			i += 6
		}
	}
	return i + 1, true
}

// codeUnit reads a \u escape at the beginning of a text.
func codeUnit(text []byte) (unit uint64, escaped bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return unit, err == nil
}
