package mlxwire

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

const (
	// oneAndMinusTwo is the float32 numbers 1 and -2 in base64, the least byte first.
	oneAndMinusTwo = `"AACAPwAAAMA="`
	tooLong        = `{"id":%q,"type":"item","index":0,"error":{"code":"context_overflow","message":"` +
		"`max_tokens` is too much" + `","retryable":false,"data":{"limit":4}}}`
)

func TestTheMockAnswersTheRequestsAboutTexts(t *testing.T) {
	_, model := startMock(t)
	ctx := deadlined(t)
	embeddings, err := model.Embed(ctx, append(Texts("a b", "c"), TokenTexts([]int{1, 2, 3})...), WithDimensions(4))
	if err != nil || len(embeddings) != 3 || len(embeddings[0].Vector) != 4 || embeddings[0].Tokens != 2 || embeddings[2].Tokens != 3 {
		t.Errorf("embed returned %+v, %v", embeddings, err)
	}
	scores, err := model.Score(ctx, Texts("a b c", "d"))
	if err != nil || len(scores) != 2 || len(scores[0].TokenIDs) != 3 || scores[0].Logprobs[0] != nil || *scores[0].Perplexity != 2 ||
		!slices.Equal(scores[0].Pieces, []string{"a", " b", " c"}) || scores[1].Perplexity != nil {
		t.Errorf("score returned %+v, %v", scores, err)
	}
	ranked, err := model.Rerank(ctx, "a b", []string{"c", "b", "a b"}, WithTopN(2))
	if err != nil || len(ranked) != 2 || ranked[0] != (RankedDocument{2, 1, "a b"}) || ranked[1].Document != "b" {
		t.Errorf("rerank returned %+v, %v", ranked, err)
	}
	if model.Metrics().PromptTokens != 4 {
		t.Errorf("the metrics of a rerank are %+v", model.Metrics())
	}
	rendered, err := model.Render(ctx, UserTurn("hello there"))
	if err != nil || rendered.Prompt != "user: hello there\nassistant:" || len(rendered.IDs) != rendered.Count ||
		!slices.Equal(rendered.Messages, []RenderedMessage{{0, 0, 4}}) || rendered.AnswerStart != 4 {
		t.Errorf("render returned %+v, %v", rendered, err)
	}
	if _, err := model.Embed(ctx, nil); !errors.Is(err, ErrInvalidParams) || !strings.Contains(err.Error(), "texts") {
		t.Errorf("an embed of nothing gave %v", err)
	}
	if _, err := model.Embed(ctx, Texts("a"), WithDimensions(0)); !errors.Is(err, ErrInvalidParams) || !strings.Contains(err.Error(), "WithDimensions") {
		t.Errorf("an embed to no dimensions gave %v", err)
	}
}

func TestTheLabelOfAResultIsItsLikeliest(t *testing.T) {
	_, model := startMock(t)
	results, err := model.Classify(deadlined(t), []string{"a"}, WithLabels("x", "y", "z"))
	if err != nil || len(results) != 1 {
		t.Fatalf("classify returned %+v, %v", results, err)
	}
	likeliest := results[0].Label()
	for label, chance := range results[0].Labels {
		if *chance > *results[0].Labels[likeliest] {
			t.Errorf("%s is likelier than the label %s", label, likeliest)
		}
	}
	if label := (ClassifyResult{}).Label(); label != "" {
		t.Errorf("a result without labels has the label %q", label)
	}
}

func TestATextThatFailsHasItsOwnError(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		for _, command := range []string{"classify", "embed", "score"} {
			id := w.next(command).ID
			switch command {
			case "classify":
				w.classified(id, 1)
			case "embed":
				w.say(`{"id":%q,"type":"item","index":1,"embedding":`+oneAndMinusTwo+`,"tokens":2}`, id)
			case "score":
				w.say(`{"id":%q,"type":"item","index":1,"token_ids":[1],"pieces":["\"error\""],"logprobs":[null],"perplexity":null}`, id)
			}
			w.say(tooLong, id)
			w.done(id, "stop")
		}
	})
	ctx := deadlined(t)
	check := func(command string, failed, whole error, indexes ...int) {
		t.Helper()
		var own *Error
		if !errors.As(failed, &own) || own.Code != ErrContextOverflow || !strings.Contains(own.Message, "WithMaxTokens") {
			t.Errorf("the text of %s that failed has the error %v", command, failed)
		}
		if whole != nil || !slices.Equal(indexes, []int{0, 1}) {
			t.Errorf("%s returned the results %v, the second with %v", command, indexes, whole)
		}
	}
	var heard []Progress
	hear := WithProgress(func(p Progress) { heard = append(heard, p) })
	classes, err := model.Classify(ctx, []string{"a", "b"}, hear)
	if err != nil || len(classes) != 2 {
		t.Fatalf("classify returned %+v, %v", classes, err)
	}
	check("classify", classes[0].Err, classes[1].Err, classes[0].Index, classes[1].Index)
	if !slices.Equal(heard, []Progress{{StagePrompts, 1, 2}, {StagePrompts, 2, 2}}) {
		t.Errorf("the progress of a classify is %+v", heard)
	}
	embeddings, err := model.Embed(ctx, Texts("a", "b"))
	if err != nil || len(embeddings) != 2 || !slices.Equal(embeddings[1].Vector, Vector{1, -2}) {
		t.Fatalf("embed returned %+v, %v", embeddings, err)
	}
	check("embed", embeddings[0].Err, embeddings[1].Err, embeddings[0].Index, embeddings[1].Index)
	scores, err := model.Score(ctx, Texts("a", "b"))
	if err != nil || len(scores) != 2 {
		t.Fatalf("score returned %+v, %v", scores, err)
	}
	check("score", scores[0].Err, scores[1].Err, scores[0].Index, scores[1].Index)
}

func TestAnItemOfTextsThatTheWireForbidsEndsTheWorker(t *testing.T) {
	for command, bodies := range map[string][]string{
		"embed": {
			`"embedding":"A?==","tokens":1`, `"embedding":"AAAA","tokens":1`, `"embedding":[1],"tokens":1`,
			`"embedding":null,"tokens":1`, `"embedding":` + oneAndMinusTwo, `"error":{"message":"m"}`, `"error":"m"`,
		},
		"score": {
			`"token_ids":[1],"pieces":["a"],"logprobs":["0"],"perplexity":null`,
			`"token_ids":null,"pieces":["a"],"logprobs":[null],"perplexity":null`,
			`"token_ids":[1],"pieces":["a"],"logprobs":[null]`,
		},
	} {
		for _, body := range bodies {
			worker, model := startModel(t, windows, func(w *scriptedWorker) {
				w.say(`{"id":%q,"type":"item","index":0,`+body+`}`, w.next(command).ID)
				<-w.exited
			})
			var err error
			if command == "embed" {
				_, err = model.Embed(deadlined(t), Texts("a"))
			} else {
				_, err = model.Score(deadlined(t), Texts("a"))
			}
			if !errors.Is(err, ErrProtocolViolation) {
				t.Errorf("after %s, %s ended with %v, want protocol_violation", body, command, err)
			}
			await(t, "the worker's end", worker.Done())
		}
	}
}

func TestAnEmbedThatIsLeftIsCancelled(t *testing.T) {
	cancelled := make(chan struct{})
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("embed").ID
		w.say(`{"id":%q,"type":"item","index":1,"embedding":`+oneAndMinusTwo+`,"tokens":2}`, id)
		w.next("cancel")
		close(cancelled)
		w.done(id, "cancelled")
	})
	stream, err := model.EmbedStream(deadlined(t), Texts("a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	for embedding, err := range stream.Results() {
		if err != nil || embedding.Index != 1 {
			t.Errorf("the first embedding is %+v, %v", embedding, err)
		}
		break
	}
	await(t, "the cancel", cancelled)
}

func TestARerankOfADocumentThatWasNotGivenIsAViolation(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		metrics, _ := json.Marshal(Metrics{})
		w.result(w.next("rerank").ID, `,"results":[{"index":1,"relevance_score":0.5}],"metrics":`+string(metrics))
	})
	if ranked, err := model.Rerank(deadlined(t), "q", []string{"d"}); !errors.Is(err, ErrProtocolViolation) {
		t.Errorf("rerank returned %+v, %v", ranked, err)
	}
}

func TestAConversationIsClassifiedLikeAPrompt(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		request := w.next("classify")
		want := `"messages":[[{"role":"user","content":"a"}],[{"role":"user","content":"b"}]]`
		if raw := string(request.Raw); !strings.Contains(raw, `"separator":" "`) || strings.Contains(raw, "prompts") ||
			!strings.Contains(raw, want) {
			t.Errorf("the client sent %s", raw)
		}
		w.classified(request.ID, 1)
		w.classified(request.ID, 0)
		w.done(request.ID, "stop")
	})
	var heard []Progress
	chats := [][]Message{UserTurn("a"), UserTurn("b")}
	results, err := model.ClassifyChats(deadlined(t), chats, WithSeparator(" "), WithProgress(func(p Progress) { heard = append(heard, p) }))
	if err != nil || len(results) != 2 || results[0].Index != 0 {
		t.Errorf("classify returned %+v, %v", results, err)
	}
	if !slices.Equal(heard, []Progress{{StageMessages, 1, 2}, {StageMessages, 2, 2}}) {
		t.Errorf("the progress is %+v", heard)
	}
}
