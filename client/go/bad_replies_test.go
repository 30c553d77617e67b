package mlxwire

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// These tests are about replies that SPEC forbids: they end the worker, and each request in flight.

const (
	goodToken = `{"id":"ID","type":"token","seq":0,"token":"a","token_id":1}`
	goodDone  = `{"id":"ID","type":"done","final":true,"done":true,"finish_reason":"stop","tokens_generated":1,"metrics":{}}`
	goodEvent = `"event":"heartbeat","data":{"phase":"idle","steps":1,"last_step_seconds":0}`
)

// forbiddenReplies are lines to a `generate` with the id ID.
var forbiddenReplies = []string{
	`Loading model`, `[1]`, `null`, `{"id":"ID","type":"tok`, goodToken + goodToken,
	// Numbers, nesting and text that JSON or SPEC §1 lacks.
	`{"id":"ID","type":"token","seq":0,"token":"a","token_id":1,"logprob":NaN}`,
	`{"id":"ID","type":"token","seq":0,"token":"a","token_id":1,"logprob":1e400}`,
	`{"id":"ID","type":"token","seq":0,"token":"a","token_id":1,"note":{"deep":[0,-1e400]}}`,
	`{"id":"ID","type":"token","seq":0,"token":"a","token_id":1,"note":1` + strings.Repeat("0", 400) + `}`,
	`{"id":"ID","type":"token","seq":0,"token":"\ud800","token_id":1}`,
	`{"id":"ID","type":"token","seq":0,"token":"a","token_id":1,"note":"\ud83dx\ude80"}`,
	`{"id":"ID","type":"token","seq":0,"token":"a","token_id":1,"note":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`,
	`{"id":"ID","type":"surprise","note":1e400}`,
	`{"id":null,"type":"event","event":"new","data":{"a":1E+400}}`,
	// The type.
	`{}`, `{"id":"ID","seq":0,"token":"a","token_id":1}`, `{"id":"ID","type":null,"seq":0,"token":"a","token_id":1}`,
	`{"id":"ID","type":7}`, `{"id":"ID","final":true,"done":true,"finish_reason":"stop","tokens_generated":1,"metrics":{}}`,
	// The id.
	`{"type":"token","seq":0,"token":"a","token_id":1}`, `{"id":null,"type":"token","seq":0,"token":"a","token_id":1}`,
	`{"type":"event",` + goodEvent + `}`, `{"type":"surprise"}`, `{"id":"nobody","type":"surprise"}`, `{"id":1,"type":"surprise"}`,
	`{"type":"done","final":true,"finish_reason":"stop","tokens_generated":1,"metrics":{}}`,
	`{"id":null,"type":"error","final":true,"error":{"code":"internal","message":"m","retryable":false}}`,
	// The final.
	strings.ReplaceAll(goodDone, `"final":true`, `"final":false`), strings.ReplaceAll(goodDone, `"final":true`, `"final":"true"`),
	strings.ReplaceAll(goodDone, `"finish_reason":"stop",`, ``), strings.ReplaceAll(goodDone, `"stop"`, `null`),
	strings.ReplaceAll(goodDone, `"tokens_generated":1`, `"tokens_generated":"1"`), strings.ReplaceAll(goodDone, `{}}`, `[]}`),
	`{"id":"ID","type":"result","final":true,"ok":true}`,
	`{"id":"ID","type":"token","final":true,"seq":0,"token":"a","token_id":1}`,
	`{"id":"ID","type":"progress","stage":"x","done":0,"total":1,"final":true}`,
	`{"id":"ID","type":"progress","stage":"x"}`, `{"id":"ID","type":"progress","stage":"x","done":-1,"total":1}`,
	`{"id":"ID","type":"progress","done":0,"total":1}`, `{"id":"ID","type":"progress","stage":"x","done":"0","total":1}`,
	`{"id":"ID","type":"error","final":true}`, `{"id":"ID","type":"error","final":true,"error":"m"}`,
	`{"id":"ID","type":"error","final":true,"error":null}`,
	`{"id":"ID","type":"error","final":true,"error":{"code":"internal","message":"m","data":null}}`,
	`{"id":"ID","type":"error","final":true,"error":{"code":"internal","message":"m","retryable":null}}`,
	`{"id":"ID","type":"token","seq":0,"token":"a","token_id":1,"top_logprobs":[{"token":"a","token_id":1}]}`,
	`{"id":"ID","type":"token","seq":0,"token":"a","token_id":1,"top_logprobs":[{"token_id":1,"logprob":null}]}`,
	`{"id":"ID","type":"error","final":true,"error":{"message":"m"}}`, `{"id":"ID","type":"error","final":true,"error":{"code":"internal"}}`,
	`{"id":"ID","type":"error","final":true,"error":{"code":1,"message":"m"}}`,
	`{"id":"ID","type":"error","error":{"code":"internal","message":"m","retryable":false}}`,
	// A token.
	`{"id":"ID","type":"token","seq":0,"token_id":1}`, `{"id":"ID","type":"token","seq":1,"token":"a","token_id":1}`,
	`{"id":"ID","type":"token","seq":0,"token":"a","token_id":1,"index":1}`,
	`{"id":"ID","type":"token","seq":0,"token":"a","token_id":1,"index":-1}`,
	`{"id":"ID","type":"token","seq":0,"token":"a","token_id":1,"index":0.5}`,
	// An item.
	`{"id":"ID","type":"item","index":0,"token":"a","token_id":1,"logprob":null}`,
	// An event.
	`{"id":"ID","type":"event",` + goodEvent + `}`, `{"id":null,"type":"event","final":true,` + goodEvent + `}`,
	`{"id":null,"type":"event","event":"eclipse"}`, `{"id":null,"type":"event","event":"eclipse","data":null}`,
	`{"id":null,"type":"event","event":"eclipse","data":[]}`, `{"id":null,"type":"event","event":5,"data":{}}`,
	`{"id":null,"type":"event"}`, `{"id":null,"type":"event","event":"heartbeat","data":{}}`,
}

func TestAReplyThatSpecForbidsEndsTheWorkerAndAllRequests(t *testing.T) {
	for _, line := range forbiddenReplies {
		worker, model := startModel(t, windows, func(w *scriptedWorker) {
			id := w.next("generate").ID
			w.next("generate")
			w.say("%s", strings.ReplaceAll(line, "ID", id))
			w.say("%s", strings.ReplaceAll(goodDone, "ID", id)) // so that a client that accepts the line ends
			<-w.exited
		})
		one, err := model.GenerateStream(deadlined(t), "p")
		if err != nil {
			t.Fatal(err)
		}
		other, err := model.GenerateStream(deadlined(t), "p")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := one.Text(); !errors.Is(err, ErrProtocolViolation) {
			t.Errorf("after %.200s the request ended with %v", line, err)
			continue
		}
		if _, err := other.Text(); !errors.Is(err, ErrProtocolViolation) {
			t.Errorf("after %.200s the other request ended with %v", line, err)
		}
		await(t, "the worker's end", worker.Done())
	}
}

func TestAReplyOfALaterWorkerIsAccepted(t *testing.T) {
	for _, line := range []string{
		`{"id":"ID","type":"surprise","note":{"a":[1,null]}}`, `{"id":"ID","type":"progress","stage":"sifting","done":0,"total":1}`,
		`{"id":null,"type":"event","event":"eclipse","data":{"in":1}}`, `{"id":null,"type":"event",` + goodEvent + `}`, ``, " \t\r",
		`  {"type":"surprise","id":"ID","low":-1e-400,"high":1.7976931348623157e308,"text":"\ud83d\ude80 \\ud800 \u00e9"}  `,
	} {
		_, model := startModel(t, windows, func(w *scriptedWorker) {
			id := w.next("generate").ID
			w.say("%s", strings.ReplaceAll(line, "ID", id))
			w.say(`{"id":%q,"type":"token","seq":0,"token":"a","token_id":1,"index":0,"note":1}`, id)
			w.say(`{"id":%q,"type":"token","seq":1,"token":"b","token_id":1,"index":null,"final":false}`, id)
			w.say("%s", strings.ReplaceAll(goodDone, "ID", id))
		})
		if text := read(t, model.Generate(deadlined(t), "p")); text != "ab" {
			t.Errorf("after %s the text is %q", line, text)
		}
	}
}

func TestAFinalOfAnUnknownTypeFailsItsRequestAlone(t *testing.T) {
	worker, model := startModel(t, windows, func(w *scriptedWorker) {
		w.say(`{"id":%q,"type":"surprise","final":true}`, w.next("generate").ID)
		w.answers(1)
	})
	if _, err := collect(model.Generate(deadlined(t), "p")); !errors.Is(err, ErrProtocolViolation) {
		t.Errorf("the request ended with %v", err)
	}
	if text := read(t, model.Generate(deadlined(t), "p")); text != "t0" || worker.Err() != nil {
		t.Errorf("the next request gave %q, the worker %v", text, worker.Err())
	}
}

func TestATokenNamesAPromptOfItsBatch(t *testing.T) {
	for index := range 3 {
		_, model := startModel(t, windows, func(w *scriptedWorker) {
			id := w.next("batch").ID
			w.say(`{"type":"token","id":%q,"seq":0,"index":%d,"token":"t","token_id":1}`, id, index)
			for prompt := range 2 {
				w.batched(id, prompt)
			}
			w.done(id, "stop")
		})
		_, err := model.BatchGenerate(deadlined(t), []string{"a", "b"}, WithOnToken(func(Token) {}))
		if (index < 2) != (err == nil) || index == 2 && !errors.Is(err, ErrProtocolViolation) {
			t.Errorf("a token of prompt %d gave %v", index, err)
		}
	}
}

func TestAProgramThatWritesItsInputBackIsNoWorker(t *testing.T) {
	err := startFails(t, func(w *scriptedWorker) { w.say("%s", w.next("hello").Raw) })
	if err.Code != ErrHandshakeFailed || !strings.Contains(err.Message, "`cat`") {
		t.Errorf("the start failed with %v", err)
	}
	_, failed := Start(deadlined(t), WithCommand("cat"), quickly())
	if text := fmt.Sprint(failed); !errors.Is(failed, ErrHandshakeFailed) || !strings.Contains(text, "`cat`") {
		t.Errorf("the start of cat failed with %v", failed)
	}
}

// quickly bounds how long a process that does not quit is waited for.
func quickly() StartOption {
	return WithShutdownLimits(ShutdownLimits{Quit: 1, CloseStdin: 1, Terminate: patience, Kill: patience})
}
