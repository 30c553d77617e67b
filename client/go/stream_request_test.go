package mlxwire

import (
	"errors"
	"testing"
)

// These tests check what a stream holds, and how long.

func TestAContextKeepsNoStreamThatHasEnded(t *testing.T) {
	for name, end := range map[string]func(*Stream){
		"taken to its end": func(s *Stream) { _, _ = s.Text() },
		"left": func(s *Stream) {
			for range s.Tokens() {
				break
			}
		},
		"closed": func(s *Stream) { _ = s.Close() },
	} {
		_, model := startModel(t, windows, func(w *scriptedWorker) {
			id := w.next("generate").ID
			w.token(id, 0)
			w.done(id, "stop")
		})
		stream, err := model.GenerateStream(deadlined(t), "p")
		if err != nil {
			t.Fatal(err)
		}
		end(stream)
		if stream.replies.unwatch() {
			t.Errorf("%s: the stream still watches its context", name)
		}
	}
}

func TestReadMessagesAreNotKept(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("generate").ID
		for seq := range 3 {
			w.token(id, seq)
		}
		w.done(id, "stop")
	})
	stream, err := model.GenerateStream(deadlined(t), "p")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Text(); err != nil {
		t.Error(err)
	}
	for _, buffer := range [][]Token{stream.replies.batch, stream.replies.incoming} {
		for _, token := range buffer[:cap(buffer)] {
			if token.Text != "" {
				t.Errorf("the buffer still holds %q", token.Text)
			}
		}
	}
}

func TestAConsumerThatReadsEachMessageIsNeverTooSlow(t *testing.T) {
	taken := make(chan struct{})
	const tokens = 20
	_, model := startModel(t, `{}`, func(w *scriptedWorker) {
		id := w.next("generate").ID
		for seq := range tokens {
			w.token(id, seq)
			<-taken
		}
		w.done(id, "stop")
	}, WithBufferBytes(5*messageOverhead))
	count := 0
	for _, err := range model.Generate(deadlined(t), "p") {
		if count++; err != nil {
			t.Fatal(err)
		}
		taken <- struct{}{}
	}
	if count != tokens {
		t.Errorf("the stream gave %d tokens", count)
	}
}

func TestAMalformedEndIsAProtocolViolation(t *testing.T) {
	for name, end := range map[string]func(*scriptedWorker, string){
		"a done that lacks its fields": func(w *scriptedWorker, id string) { w.say(`{"id":%q,"type":"done","final":true}`, id) },
		"a result":                     func(w *scriptedWorker, id string) { w.result(id, `"ok":true`) },
	} {
		_, model := startModel(t, windows, func(w *scriptedWorker) { end(w, w.next("generate").ID) })
		if _, err := collect(model.Generate(deadlined(t), "p")); !errors.Is(err, ErrProtocolViolation) {
			t.Errorf("%s: the stream ended with %v, want protocol_violation", name, err)
		}
	}
}
