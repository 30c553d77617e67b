package mlxwire

import (
	"errors"
	"runtime"
	"strings"
)

// shellWords splits a command line as a POSIX shell would: white space between words, single
// and double quotes, backslashes. On Windows a backslash is part of a path.
func shellWords(line string) ([]string, error) {
	const none = rune(0)
	var words []string
	var word strings.Builder
	inWord, escaped, quote := false, false, none
	for _, r := range line {
		switch {
		case escaped:
			if quote == '"' && !strings.ContainsRune("\"\\$`", r) {
				word.WriteRune('\\')
			}
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'' && runtime.GOOS != "windows":
			escaped, inWord = true, true
		case quote != none:
			if r == quote {
				quote = none
			} else {
				word.WriteRune(r)
			}
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case strings.ContainsRune(" \t\r\n", r):
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != none || escaped {
		return nil, errors.New("a quotation or an escape is not closed")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
