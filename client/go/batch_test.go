package mlxwire

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// These tests send many prompts in one request.

func TestResultsHaveTheOrderOfThePrompts(t *testing.T) {
	order := []int{2, 0, 1}
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("classify").ID
		for _, index := range order {
			w.classified(id, index)
		}
		w.done(id, "stop")
		id = w.next("batch").ID
		for _, index := range order {
			w.batched(id, index)
		}
		w.done(id, "stop")
	})
	prompts := []string{"a", "b", "c"}
	classes, err := model.Classify(deadlined(t), prompts)
	if err != nil || len(classes) != 3 {
		t.Fatalf("classify returned %+v, %v", classes, err)
	}
	batch, err := model.BatchGenerate(deadlined(t), prompts)
	if err != nil || len(batch) != 3 {
		t.Fatalf("batch returned %+v, %v", batch, err)
	}
	for i := range prompts {
		if classes[i].TokenID != i || batch[i].Text != fmt.Sprintf("t%d", i) {
			t.Errorf("prompt %d has the results %+v, %+v", i, classes[i], batch[i])
		}
	}
}

func TestABatchHasTokensOnlyIfTheyWereAskedFor(t *testing.T) {
	for _, options := range [][]RequestOption{nil, {WithOnToken(func(Token) {})}} {
		_, model := startModel(t, windows, func(w *scriptedWorker) {
			id := w.next("batch").ID
			w.say(`{"type":"token","id":%q,"seq":0,"index":0,"token":"t0","token_id":1}`, id)
			w.batched(id, 0)
			w.done(id, "stop")
		})
		batch, err := model.BatchGenerate(deadlined(t), []string{"a"}, options...)
		if asked := options != nil; asked != (err == nil && len(batch) == 1) || asked == errors.Is(err, ErrProtocolViolation) {
			t.Errorf("with %d options, batch returned %+v, %v", len(options), batch, err)
		}
	}
}

func TestAnItemThatTheWireForbidsEndsTheWorker(t *testing.T) {
	for command, ask := range map[string]func(*Model) error{
		"classify": func(m *Model) error { _, err := m.Classify(deadlined(t), []string{"a"}); return err },
		"batch":    func(m *Model) error { _, err := m.BatchGenerate(deadlined(t), []string{"a"}); return err },
	} {
		for _, item := range []string{
			`{"id":%q,"type":"item","index":0}`,
			`{"id":%q,"type":"item","index":0,"token_id":1,"logprob":-1,"text":"a","token_ids":null,"finish_reason":"stop","tokens_generated":1,"error":null}`,
			`{"id":%q,"type":"item","index":0,"token_id":1,"logprob":-1,"text":"a","token_ids":[1],"finish_reason":"stop","tokens_generated":1}`,
			`{"id":%q,"type":"item","index":0,"token_id":1,"logprob":-1,"text":"a","token_ids":[1],"finish_reason":null,"tokens_generated":1,"error":{"message":"m"}}`,
			`{"id":%q,"type":"item","index":1,"token":"a","token_id":1,"logprob":-1,"text":"a","token_ids":[1],"finish_reason":"stop","tokens_generated":1,"error":null}`,
			`{"id":%q,"type":"item","index":-1,"token":"a","token_id":1,"logprob":-1,"text":"a","token_ids":[1],"finish_reason":"stop","tokens_generated":1,"error":null}`,
			`{"id":%q,"type":"item","index":null,"token":"a","token_id":1,"logprob":-1,"text":"a","token_ids":[1],"finish_reason":"stop","tokens_generated":1,"error":null}`,
		} {
			worker, model := startModel(t, windows, func(w *scriptedWorker) {
				w.say(item, w.next(command).ID)
				<-w.exited
			})
			if err := ask(model); !errors.Is(err, ErrProtocolViolation) {
				t.Errorf("after %s, %s ended with %v, want protocol_violation", item, command, err)
			}
			await(t, "the worker's end", worker.Done())
		}
	}
}

func TestABatchThatIsLeftIsCancelled(t *testing.T) {
	cancelled := make(chan struct{})
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("batch").ID
		w.batched(id, 0)
		w.next("cancel")
		close(cancelled)
		w.done(id, "cancelled")
	})
	stream, err := model.BatchStream(deadlined(t), []string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	for range stream.Results() {
		break
	}
	await(t, "the cancel", cancelled)
}

func TestAnEmptyListOfLabelsIsSent(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		request := w.next("classify")
		if !bytes.Contains(request.Raw, []byte(`"labels":[]`)) {
			t.Errorf("the client sent %s, want an empty list of labels", request.Raw)
		}
		w.fails(request.ID, "invalid_params")
	})
	if _, err := model.Classify(deadlined(t), []string{"a"}, WithLabels()); !errors.Is(err, ErrInvalidParams) {
		t.Error(err)
	}
}
