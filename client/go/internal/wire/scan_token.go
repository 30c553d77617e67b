package wire

import (
	"bytes"
	"unicode/utf8"
)

// scanToken reads a plain token line: `type`, `id`, `seq`, `token` and `token_id`, each once, in any
// order, without white space, and after them the channel of a thought. Nearly every line of a connection
// is one, and encoding/json takes ten times as long for it. scanToken returns false for any other line, which encoding/json then reads.
// Both read an accepted line in the same way; a fuzz test compares them.
//
// The returned id shares memory with line. token has no meaning if ok is false.
func scanToken(line []byte, token *Token, texts *textCache) (id []byte, ok bool) {
	const (
		hasType = 1 << iota
		hasID
		hasSeq
		hasText
		hasTokenID
		hasAll = hasType | hasID | hasSeq | hasText | hasTokenID
	)
	if len(line) == 0 || line[0] != '{' {
		return nil, false
	}
	*token = Token{Index: NoIndex}
	var seen, bit int
	var text []byte
	var escaped bool
	rest := line[1:]
	for seen != hasAll {
		var key, value []byte
		key, rest, ok = scanString(rest)
		if !ok || len(rest) == 0 || rest[0] != ':' {
			return nil, false
		}
		rest = rest[1:]
		switch string(key) {
		case "type":
			bit = hasType
			value, rest, ok = scanString(rest)
			ok = ok && string(value) == "token"
		case "id":
			bit = hasID
			id, rest, ok = scanString(rest)
			ok = ok && utf8.Valid(id)
		case "token":
			bit = hasText
			text, rest, escaped, ok = scanText(rest)
		case "seq":
			bit = hasSeq
			token.Seq, rest, ok = scanCount(rest)
		case "token_id":
			bit = hasTokenID
			token.ID, rest, ok = scanCount(rest)
		default:
			return nil, false
		}
		if !ok || seen&bit != 0 || len(rest) == 0 {
			return nil, false
		}
		seen |= bit
		if seen != hasAll {
			if rest[0] != ',' {
				return nil, false
			}
			rest = rest[1:]
		}
	}
	if len(rest) != 1 || rest[0] != '}' {
		if string(rest) != thoughtEnd {
			return nil, false
		}
		token.Channel = thinking
	}
	if escaped {
		token.Text, ok = unescape(text)
		return id, ok
	}
	token.Text = texts.text(token.ID, text)
	return id, true
}

const (
	thinking   = "thinking"
	thoughtEnd = `,"channel":"` + thinking + `"}`
)

// scanString reads a string that has no escapes. It does not check that the string is UTF-8.
func scanString(rest []byte) (value, after []byte, ok bool) {
	if len(rest) == 0 || rest[0] != '"' {
		return nil, nil, false
	}
	rest = rest[1:]
	for i, b := range rest {
		switch {
		case b == '"':
			return rest[:i], rest[i+1:], true
		case b == '\\' || b < 0x20:
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// scanText reads a string of valid UTF-8 that may have escapes.
func scanText(rest []byte) (value, after []byte, escaped, ok bool) {
	if len(rest) == 0 || rest[0] != '"' {
		return nil, nil, false, false
	}
	rest = rest[1:]
	ascii := true
	for i := 0; i < len(rest); i++ {
		switch b := rest[i]; {
		case b == '"':
			value = rest[:i]
			return value, rest[i+1:], escaped, ascii || utf8.Valid(value)
		case b == '\\':
			escaped = true
			i++
		case b < 0x20:
			return nil, nil, false, false
		case b >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, nil, false, false
}

// scanCount reads an integer of at most 9 digits. It refuses leading zeros, which JSON forbids.
func scanCount(rest []byte) (value int, after []byte, ok bool) {
	const maxDigits = 9 // so that the value fits into an int of 32 bits
	digits := 0
	for digits < len(rest) && rest[digits]-'0' <= 9 {
		value = value*10 + int(rest[digits]-'0')
		digits++
		if digits > maxDigits {
			return 0, nil, false
		}
	}
	if digits == 0 || digits > 1 && rest[0] == '0' {
		return 0, nil, false
	}
	return value, rest[digits:], true
}

// unescape resolves the short escapes of JSON. It returns false for \u, which encoding/json reads.
func unescape(text []byte) (string, bool) {
	plain := make([]byte, 0, len(text))
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return string(append(plain, text...)), true
		}
		plain = append(plain, text[:i]...)
		b := shortEscapes[text[i+1]]
		if b == 0 {
			return "", false
		}
		plain = append(plain, b)
		text = text[i+2:]
	}
}

var shortEscapes = [256]byte{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

// textCache keeps the short text that was last seen for a token id, so that a token that occurs
// again needs no allocation: a vocabulary is small and a stream is long.
type textCache [1024]string

const longestCachedText = 32

func (c *textCache) text(id int, raw []byte) string {
	if len(raw) > longestCachedText {
		return string(raw)
	}
	slot := &c[uint(id)%uint(len(c))]
	if *slot != string(raw) {
		*slot = string(raw)
	}
	return *slot
}
