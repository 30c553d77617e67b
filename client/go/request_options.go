package mlxwire

import (
	"strconv"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// A RequestOption is an option of a request to a model, or of Worker.Discover. The client sends only
// the options that are given; the worker has a default for each other one (SPEC §4.4). An option
// that does not belong to a call is refused by its name, with ErrInvalidParams; the worker refuses
// most of them.
type RequestOption func(*requestOptions)

type requestOptions struct {
	fields     requestFields
	onProgress func(Progress)
	onToken    func(Token)
	maxRounds  *int
	err        error // the refusal of a nil option
}

func applyRequestOptions(options []RequestOption) *requestOptions {
	o := new(requestOptions)
	o.err = applyOptions("the request", o, options)
	return o
}

// check refuses nil options. It also refuses the options that the worker can't refuse, because the
// client does not send them.
func (o *requestOptions) check(command *wire.Command) error {
	switch {
	case o.err != nil:
		return o.err
	case o.onProgress != nil && (command.Final != wire.Generate.Final || command == wire.Discover):
		return invalidParams("progress",
			"WithProgress is an option of requests that stream and not of `%s`, which reports no progress; leave it out",
			command.Name)
	case o.onToken != nil && command != wire.Batch:
		return invalidParams("stream",
			"WithOnToken is an option of BatchGenerate, BatchStream and RunTools and not of `%s`; leave it out and range over the stream",
			command.Name)
	case o.maxRounds != nil:
		return invalidParams("max_rounds", "WithMaxRounds is an option of RunTools, and a `%s` is one request; leave it out", command.Name)
	}
	return nil
}

// setWindow sets the window that a process supports.
func (o *requestOptions) setWindow(c *connection) {
	if size := c.window(); size > 0 {
		o.fields.Window = &size
	}
}

func field(set func(*requestFields)) RequestOption {
	return func(o *requestOptions) { set(&o.fields) }
}

// WithMaxTokens ends the text after n tokens, with FinishLength. The default is 256.
func WithMaxTokens(n int) RequestOption {
	return field(func(f *requestFields) { f.MaxTokens = &n })
}

// WithTemperature sets the sampling temperature, 0 to 100. The default, 0, is greedy.
func WithTemperature(t float64) RequestOption {
	return field(func(f *requestFields) { f.Temperature = &t })
}

// WithTopK samples from the k likeliest tokens. The default, 0, switches this off.
func WithTopK(k int) RequestOption {
	return field(func(f *requestFields) { f.TopK = &k })
}

// WithTopP samples from the likeliest tokens whose probabilities sum up to p. 0 and 1 switch this
// off.
func WithTopP(p float64) RequestOption {
	return field(func(f *requestFields) { f.TopP = &p })
}

// WithMinP leaves out tokens less likely than p times the likeliest. The default, 0, switches this
// off.
func WithMinP(p float64) RequestOption {
	return field(func(f *requestFields) { f.MinP = &p })
}

// WithStop ends the text before the first of these strings that occurs.
func WithStop(texts ...string) RequestOption {
	return field(func(f *requestFields) { f.Stop = texts })
}

// WithStopTokens ends the text before any of these tokens, in addition to the model's own.
func WithStopTokens(ids ...int) RequestOption {
	return field(func(f *requestFields) { f.StopTokens = ids })
}

// WithIgnoreEOS continues past the model's own end of text.
func WithIgnoreEOS() RequestOption {
	on := true
	return field(func(f *requestFields) { f.IgnoreEOS = &on })
}

// WithMinTokens allows no end of text before n tokens.
func WithMinTokens(n int) RequestOption {
	return field(func(f *requestFields) { f.MinTokens = &n })
}

// WithRepeatPenalty divides the positive logits of tokens that were generated before, and
// multiplies the negative ones. 0 and 1 switch this off.
func WithRepeatPenalty(penalty float64) RequestOption {
	return field(func(f *requestFields) { f.RepeatPenalty = &penalty })
}

// WithPresencePenalty subtracts penalty once from the logit of each token that was generated before.
func WithPresencePenalty(penalty float64) RequestOption {
	return field(func(f *requestFields) { f.PresencePenalty = &penalty })
}

// WithFrequencyPenalty subtracts penalty from a token's logit for each time that the token was
// generated before.
func WithFrequencyPenalty(penalty float64) RequestOption {
	return field(func(f *requestFields) { f.FrequencyPenalty = &penalty })
}

// WithPenaltyWindow applies the three penalties to the last n tokens. The default, 0, means all.
func WithPenaltyWindow(n int) RequestOption {
	return field(func(f *requestFields) { f.PenaltyWindow = &n })
}

// WithLogitBias adds a value to the logits of tokens, by their ids.
func WithLogitBias(bias map[int]float64) RequestOption {
	named := make(map[string]float64, len(bias))
	for id, value := range bias {
		named[strconv.Itoa(id)] = value
	}
	return field(func(f *requestFields) { f.LogitBias = named })
}

// WithResponseFormat holds the text to a form: JSONObject, JSONSchema, Regex or Grammar, or any
// value whose JSON has the shape of OpenAI's option response_format.
func WithResponseFormat(format any) RequestOption {
	return field(func(f *requestFields) { f.ResponseFormat = format })
}

// WithXTC leaves out, with the given probability, all but the least likely of the tokens whose
// probability is above threshold (at most 0.5).
func WithXTC(probability, threshold float64) RequestOption {
	return field(func(f *requestFields) {
		f.XTCProbability, f.XTCThreshold = &probability, &threshold
	})
}

// WithSeed makes sampling repeatable. A seed has 32 bits, because the wire can't carry all of 64.
func WithSeed(seed uint32) RequestOption {
	return field(func(f *requestFields) { f.Seed = &seed })
}

// WithLogprobs gives each token its log-probability, and those of the top likeliest tokens.
func WithLogprobs(top int) RequestOption {
	on := true
	return field(func(f *requestFields) {
		f.Logprobs = &on
		if top != 0 {
			f.TopLogprobs = &top
		}
	})
}

// WithLoadedAdapter computes with an adapter that Model.LoadAdapter has loaded under this name.
func WithLoadedAdapter(name string) RequestOption {
	return field(func(f *requestFields) { f.Adapter = &name })
}

// WithCache chooses whether the worker reuses what earlier prompts computed. The default is true.
func WithCache(reuse bool) RequestOption {
	return field(func(f *requestFields) { f.Cache = &reuse })
}

// WithThinking sets the chat template's own switch for thinking. It is an option of Chat and
// TokenizeChat.
func WithThinking(on bool) RequestOption {
	return field(func(f *requestFields) { f.Thinking = on })
}

// WithThinkingBudget limits a thought to so many tokens; 0 is no thought. message, which may be empty,
// ends a thought that has spent them. It is an option of Chat.
func WithThinkingBudget(tokens int, message string) RequestOption {
	budget := thinkingBudget{Budget: tokens, Message: message}
	return field(func(f *requestFields) { f.Thinking = budget })
}

type thinkingBudget struct {
	Budget  int    `json:"budget"`
	Message string `json:"message,omitempty"`
}

// WithTools names the functions that the model may call. It is an option of Chat and TokenizeChat.
func WithTools(tools ...Tool) RequestOption {
	return field(func(f *requestFields) { f.Tools = tools })
}

// WithToolChoice says if the model calls a tool: "auto", the default, lets the model choose, "none" and
// "required" say it, and a tool's name calls for that one. It is an option of Chat.
func WithToolChoice(choice string) RequestOption {
	return field(func(f *requestFields) { f.ToolChoice = &choice })
}

// WithParallelToolCalls chooses whether one answer may have several calls. The default is true. It is an
// option of Chat.
func WithParallelToolCalls(on bool) RequestOption {
	return field(func(f *requestFields) { f.ParallelCalls = &on })
}

// WithSpecialTokens chooses whether control tokens written in a text are honoured or plain text. It is
// an option of Chat and TokenizeChat, where the default is false, and of Tokenize, where it is true.
func WithSpecialTokens(on bool) RequestOption {
	return field(func(f *requestFields) { f.SpecialTokens = &on })
}

// WithDeadline makes the worker end the request with ErrDeadlineExceeded when limit has passed
// since it read the request. The deadline of a context is the client's own; a stream that it ends
// returns the context's error.
func WithDeadline(limit time.Duration) RequestOption {
	seconds := limit.Seconds()
	return field(func(f *requestFields) { f.DeadlineSeconds = &seconds })
}

// WithLogits gives each result of Classify its row of raw logits.
func WithLogits() RequestOption {
	on := true
	return field(func(f *requestFields) { f.Logits = &on })
}

// WithLabels gives each result of Classify the probability of each label as a continuation.
func WithLabels(labels ...string) RequestOption {
	given := append([]string{}, labels...) // an empty list is sent, and the worker refuses it
	return field(func(f *requestFields) { f.Labels = given })
}

// WithSeparator puts a text between each prompt of Classify and what follows it, such as a label.
// Without it, nothing stands between them.
func WithSeparator(text string) RequestOption {
	return field(func(f *requestFields) { f.Separator = &text })
}

// WithDimensions keeps the first n numbers of each vector. It is an option of Embed.
func WithDimensions(n int) RequestOption {
	return field(func(f *requestFields) { f.Dimensions = &n })
}

// WithNormalize chooses whether each vector is scaled to the length 1. The default is what the model's
// folder says. It is an option of Embed.
func WithNormalize(on bool) RequestOption {
	return field(func(f *requestFields) { f.Normalize = &on })
}

// WithInstruction says what the texts of Embed are for, or what counts as an answer in Rerank. The model
// gets it in its own form.
func WithInstruction(text string) RequestOption {
	return field(func(f *requestFields) { f.Instruction = &text })
}

// WithPromptName names an instruction of the model's folder. It is an option of Embed.
func WithPromptName(name string) RequestOption {
	return field(func(f *requestFields) { f.PromptName = &name })
}

// WithPooling chooses how the vectors of a text's tokens become one: "mean", "last", "first" or "max". The
// default is what the model's folder says. It is an option of Embed.
func WithPooling(way string) RequestOption {
	return field(func(f *requestFields) { f.Pooling = &way })
}

// WithTopN keeps the n best documents of Rerank. The default is all.
func WithTopN(n int) RequestOption {
	return field(func(f *requestFields) { f.TopN = &n })
}

// WithHubCache chooses whether Discover looks into the hub's local cache. The default is true without
// folders, and false with any.
func WithHubCache(on bool) RequestOption {
	return field(func(f *requestFields) { f.HubCache = &on })
}

// WithCheck says what Discover reads of each model: "headers", the default, is its JSON files and the
// headers of its weights, and "full" all that Load would refuse.
func WithCheck(how string) RequestOption {
	return field(func(f *requestFields) { f.Check = &how })
}

// WithCountOnly makes Tokenize and TokenizeChat return the number of tokens without the tokens.
func WithCountOnly() RequestOption {
	on := true
	return field(func(f *requestFields) { f.CountOnly = &on })
}

// WithProgress calls tell with the progress of the prompt's computation, from the goroutine that
// waits for the request. While that goroutine does something else, only the last progress is kept. A
// request for many prompts or texts also tells it of each result: StagePrompts, StageMessages or StageTexts.
func WithProgress(tell func(Progress)) RequestOption {
	return func(o *requestOptions) { o.onProgress = tell }
}

// WithMaxRounds limits how many requests RunTools may send. The default is 8.
func WithMaxRounds(rounds int) RequestOption {
	return func(o *requestOptions) { o.maxRounds = &rounds }
}

// WithOnToken calls tell with each token of a batch as it arrives, with its prompt's Index, from the
// goroutine that waits for the batch. It is an option of BatchGenerate and BatchStream, and of RunTools, where
// it gets each token of each answer.
func WithOnToken(tell func(Token)) RequestOption {
	return func(o *requestOptions) { o.onToken = tell }
}
