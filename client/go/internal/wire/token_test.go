package wire

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

var tokenLines = []string{
	`{"type":"token","id":"r2","seq":0,"token":" ","token_id":221}`,
	`{"id":"r2","type":"token","seq":17,"token":"é😀","token_id":0}`,
	`{"token_id":5,"token":"a\n\t\"\\\/\b\f\rb","seq":3,"id":"x","type":"token"}`,
	`{"type":"token","id":"","seq":999999999,"token":"","token_id":999999999}`,
	`{"type":"token","id":"r","seq":0,"token":"hm","token_id":1,"channel":"thinking"}`,
}

var otherLines = []string{
	``, `{`, `{}`, `[]`, `"token"`, `{"type":"token"}`,
	`{"type":"token","id":"r","seq":0,"token":"a","token_id":1,"flush":true}`,
	`{"type":"token","id":"r","seq":0,"token":"a","token_id":1,}`,
	`{"type":"token","id":"r","seq":0,"token":"a","token_id":1,"channel":"other"}`,
	`{"type":"token","id":"r","seq":0,"token":"a","token_id":1,"channel":"thinking"`,
	`{"type":"token","id":"r","channel":"thinking","seq":0,"token":"a","token_id":1}`,
	`{"type":"token","id":"r","seq":0,"token":"a","token_id":1,"channel":"thinking","flush":true}`,
	`{"type":"token","id":"r","seq":0,"token":"a","token_id":1}x`,
	`{"type":"done","id":"r","seq":0,"token":"a","token_id":1}`,
	`{"type":"token","id":"r","seq":00,"token":"a","token_id":1}`,
	`{"type":"token","id":"r","seq":-1,"token":"a","token_id":1}`,
	`{"type":"token","id":"r","seq":1.0,"token":"a","token_id":1}`,
	`{"type":"token","id":"r","seq":1e1,"token":"a","token_id":1}`,
	`{"type":"token","id":"r","seq":9999999999,"token":"a","token_id":1}`,
	`{"type":"token","id":"r","seq":0,"token":"\u0041","token_id":1}`,
	`{"type":"token","id":"r","seq":0,"token":"\x","token_id":1}`,
	"{\"type\":\"token\",\"id\":\"r\",\"seq\":0,\"token\":\"\x01\",\"token_id\":1}",
	"{\"type\":\"token\",\"id\":\"r\",\"seq\":0,\"token\":\"\xff\",\"token_id\":1}",
	`{"type":"token","id":"r\n","seq":0,"token":"a","token_id":1}`,
	`{"type":"token","id":"r","seq":0,"seq":0,"token":"a","token_id":1}`,
	`{"type":"token","id":"r","seq":0,"token":"a`,
	`{"type":"token","id":"r","seq":0,"token":"a\`,
	` {"type":"token","id":"r","seq":0,"token":"a","token_id":1}`,
	`{"type":"token";"id":"r","seq":0,"token":"a","token_id":1}`,
	`{"type":xtoken","id":"r","seq":0,"token":"a","token_id":1}`,
}

func TestScanTokenReadsPlainTokensAndRefusesOtherLines(t *testing.T) {
	for _, line := range tokenLines {
		checkSame(t, []byte(line), true)
	}
	for _, line := range otherLines {
		checkSame(t, []byte(line), false)
	}
}

// checkSame compares what scanToken reads with what encoding/json reads.
func checkSame(t *testing.T, line []byte, mustScan bool) {
	t.Helper()
	var token Token
	id, ok := scanToken(line, &token, new(textCache))
	if ok != mustScan {
		t.Errorf("%s: scanToken accepted the line: %v", line, ok)
	}
	if ok {
		sameAsJSON(t, line, id, token)
	}
}

func sameAsJSON(t *testing.T, line, id []byte, token Token) {
	t.Helper()
	want, err := ReadToken(line)
	var message tokenMessage
	if err != nil || json.Unmarshal(line, &message) != nil {
		t.Fatalf("%q: encoding/json refuses a line that scanToken accepted: %v", line, err)
	}
	if !reflect.DeepEqual(token, want) || message.RequestID != string(id) || message.Type != "token" {
		t.Errorf("%q: scanToken read %q %+v, encoding/json %+v", line, id, token, want)
	}
}

func TestTheTextCacheNeverGivesAnotherTokensText(t *testing.T) {
	texts := new(textCache)
	for round := range 2 {
		for id := range 3 * len(texts) {
			want := fmt.Sprintf("%d/%d", round, id)
			if got := texts.text(id, []byte(want)); got != want {
				t.Fatalf("token %d has the text %q, want %q", id, got, want)
			}
		}
	}
}

func TestTheTextCacheKeepsNoLongText(t *testing.T) {
	cache := new(textCache)
	long := strings.Repeat("x", longestCachedText+1)
	if text := cache.text(1, []byte(long)); text != long || cache[1] != "" {
		t.Errorf("the cache returned %q and kept %q", text, cache[1])
	}
	if cache.text(1, []byte(long[1:])); cache[1] != long[1:] {
		t.Errorf("the cache kept %q", cache[1])
	}
}

func TestATokenOfTheAnswerOrOfAThoughtCostsNoAllocation(t *testing.T) {
	for _, line := range []string{tokenLines[0], tokenLines[len(tokenLines)-1]} {
		bytes, token, texts := []byte(line), new(Token), new(textCache)
		if count := testing.AllocsPerRun(100, func() { scanToken(bytes, token, texts) }); count != 0 {
			t.Errorf("scanToken made %v allocations for %s", count, line)
		}
	}
}

func FuzzScanToken(f *testing.F) {
	for _, line := range append(tokenLines, otherLines...) {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var token Token
		if id, ok := scanToken(line, &token, new(textCache)); ok {
			sameAsJSON(t, line, id, token)
		}
	})
}

func BenchmarkScanToken(b *testing.B) {
	line, token, texts := []byte(tokenLines[0]), new(Token), new(textCache)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		scanToken(line, token, texts)
	}
}
