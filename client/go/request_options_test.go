package mlxwire

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// The calls that take options, as bits.
const (
	ofGenerate = 1 << iota
	ofChat
	ofBatch
	ofClassify
	ofTokenize
	ofTokenizeChat
	ofRender
	ofEmbed
	ofScore
	ofRerank
	ofDiscover

	ofTokens  = ofGenerate | ofChat | ofBatch
	ofItems   = ofClassify | ofEmbed | ofScore
	ofStreams = ofTokens | ofItems
)

// whereOptionsBelong lists the calls of each option. Every other call refuses the option by name.
var whereOptionsBelong = []struct {
	name   string
	option RequestOption
	field  string
	calls  int
}{
	{"WithMaxTokens", WithMaxTokens(2), "max_tokens", ofTokens},
	{"WithTemperature", WithTemperature(0.5), "temperature", ofTokens | ofClassify},
	{"WithTopK", WithTopK(3), "top_k", ofTokens | ofClassify},
	{"WithTopP", WithTopP(0.5), "top_p", ofTokens | ofClassify},
	{"WithMinP", WithMinP(0.1), "min_p", ofTokens | ofClassify},
	{"WithStop", WithStop("zzz"), "stop", ofTokens},
	{"WithStopTokens", WithStopTokens(7), "stop_tokens", ofTokens},
	{"WithIgnoreEOS", WithIgnoreEOS(), "ignore_eos", ofTokens},
	{"WithMinTokens", WithMinTokens(1), "min_tokens", ofTokens},
	{"WithRepeatPenalty", WithRepeatPenalty(1.1), "repeat_penalty", ofTokens},
	{"WithPresencePenalty", WithPresencePenalty(0.1), "presence_penalty", ofTokens},
	{"WithFrequencyPenalty", WithFrequencyPenalty(0.1), "frequency_penalty", ofTokens},
	{"WithPenaltyWindow", WithPenaltyWindow(8), "penalty_window", ofTokens},
	{"WithLogitBias", WithLogitBias(map[int]float64{3: -1}), "logit_bias", ofTokens},
	{"WithResponseFormat", WithResponseFormat(map[string]string{"type": "text"}), "response_format", ofTokens},
	{"WithXTC", WithXTC(0.1, 0.2), "xtc_probability", ofTokens},
	{"WithSeed", WithSeed(1), "seed", ofTokens | ofClassify},
	{"WithLogprobs", WithLogprobs(1), "logprobs", ofGenerate | ofChat}, // in a batch only together with WithOnToken
	{"WithLoadedAdapter", WithLoadedAdapter("poet"), "adapter", ofStreams | ofRerank},
	{"WithCache", WithCache(false), "cache", ofTokens},
	{"WithThinking", WithThinking(false), "thinking", ofChat | ofTokenizeChat | ofRender},
	{"WithThinkingBudget", WithThinkingBudget(5, ""), "thinking", ofChat},
	{"WithTools", WithTools(Tool{Name: "add"}), "tools", ofChat | ofTokenizeChat | ofRender},
	{"WithToolChoice", WithToolChoice("auto"), "tool_choice", ofChat | ofRender},
	{"WithParallelToolCalls", WithParallelToolCalls(true), "parallel_tool_calls", ofChat},
	{"WithSpecialTokens", WithSpecialTokens(true), "special_tokens", ofChat | ofTokenize | ofTokenizeChat | ofRender},
	{"WithDeadline", WithDeadline(time.Minute), "deadline_seconds", ofStreams | ofRerank | ofDiscover},
	{"WithProgress", WithProgress(func(Progress) {}), "progress", ofStreams},
	{"WithLogits", WithLogits(), "logits", ofClassify},
	{"WithLabels", WithLabels("yes"), "labels", ofClassify},
	{"WithSeparator", WithSeparator(" "), "separator", ofClassify},
	{"WithDimensions", WithDimensions(2), "dimensions", ofEmbed},
	{"WithNormalize", WithNormalize(false), "normalize", ofEmbed},
	{"WithInstruction", WithInstruction("Find it."), "instruction", ofEmbed | ofRerank},
	{"WithPromptName", WithPromptName("query"), "prompt_name", ofEmbed},
	{"WithPooling", WithPooling("mean"), "pooling", ofEmbed},
	{"WithTopN", WithTopN(1), "top_n", ofRerank},
	{"WithHubCache", WithHubCache(false), "hub_cache", ofDiscover},
	{"WithCheck", WithCheck("full"), "check", ofDiscover},
	{"WithCountOnly", WithCountOnly(), "count_only", ofTokenize | ofTokenizeChat},
	{"WithOnToken", WithOnToken(func(Token) {}), "stream", ofBatch},
	{"WithMaxRounds", WithMaxRounds(2), "max_rounds", 0}, // of RunTools
}

func TestAnOptionOfAnotherCallIsRefusedByItsName(t *testing.T) {
	worker, model := startMock(t)
	ctx := deadlined(t)
	calls := map[int]func(RequestOption) error{
		ofGenerate:     func(o RequestOption) error { _, err := collect(model.Generate(ctx, "a b", o)); return err },
		ofChat:         func(o RequestOption) error { _, err := collect(model.Chat(ctx, UserTurn("a b"), o)); return err },
		ofBatch:        func(o RequestOption) error { _, err := model.BatchGenerate(ctx, []string{"a b"}, o); return err },
		ofClassify:     func(o RequestOption) error { _, err := model.Classify(ctx, []string{"a b"}, o); return err },
		ofTokenize:     func(o RequestOption) error { _, err := model.Tokenize(ctx, "a b", o); return err },
		ofTokenizeChat: func(o RequestOption) error { _, err := model.TokenizeChat(ctx, UserTurn("a b"), o); return err },
		ofRender:       func(o RequestOption) error { _, err := model.Render(ctx, UserTurn("a b"), o); return err },
		ofEmbed:        func(o RequestOption) error { _, err := model.Embed(ctx, Texts("a b"), o); return err },
		ofScore:        func(o RequestOption) error { _, err := model.Score(ctx, Texts("a b"), o); return err },
		ofRerank:       func(o RequestOption) error { _, err := model.Rerank(ctx, "a", []string{"a b"}, o); return err },
		ofDiscover:     func(o RequestOption) error { _, err := worker.Discover(ctx, []string{"."}, o); return err },
	}
	for _, c := range whereOptionsBelong {
		for call, try := range calls {
			err := try(c.option)
			var own *Error
			// The mock's template has no switch for thinking; the call itself takes the option.
			lacking := errors.Is(err, ErrUnsupportedCapability) && c.field == "thinking" ||
				err != nil && strings.Contains(err.Error(), "`WithParallelToolCalls` needs `WithTools`") ||
				err != nil && strings.Contains(err.Error(), "no adapter of this name is loaded")
			switch refused := errors.As(err, &own) && own.Code == ErrInvalidParams && own.Field() == c.field; {
			case c.calls&call != 0 && err != nil && !lacking:
				t.Errorf("%s was refused by call %d: %v", c.name, call, err)
			case c.calls&call == 0 && !refused:
				t.Errorf("%s was not refused by call %d, which gave %v", c.name, call, err)
			}
		}
	}
}

func TestEveryRequestOptionIsListedWithItsCalls(t *testing.T) {
	var listed []string
	for _, c := range whereOptionsBelong {
		listed = append(listed, c.name)
	}
	declared := declaredOptions(t, "request_options.go")
	slices.Sort(listed)
	slices.Sort(declared)
	if !slices.Equal(listed, declared) {
		t.Errorf("this test lists the options %q, the client declares %q", listed, declared)
	}
}

func TestWithOnTokenIsRefusedBeforeAnythingIsSent(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		w.done(w.next("chat").ID, "stop") // a refused request would have been sent before this one
	})
	option := WithOnToken(func(Token) {})
	_, err := model.GenerateStream(deadlined(t), "p", option)
	if !errors.Is(err, ErrInvalidParams) || !strings.Contains(err.Error(), "WithOnToken") {
		t.Errorf("generate with WithOnToken gave %v", err)
	}
	if text := read(t, model.Chat(deadlined(t), UserTurn("p"))); text != "" {
		t.Errorf("chat returned %q", text)
	}
}
