package mlxwire

import (
	"strconv"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// A RequestOption is an option of Generate, Chat, BatchGenerate or Classify. Only options that
// are given are sent; without them the worker's defaults hold (SPEC §4.4). An option that its
// call does not know is refused by name, with ErrInvalidParams; most of them by the worker.
type RequestOption func(*requestOptions)

type requestOptions struct {
	fields     requestFields
	onProgress func(Progress)
	onToken    func(Token)
}

func applyRequestOptions(options []RequestOption) *requestOptions {
	o := new(requestOptions)
	for _, option := range options {
		option(o)
	}
	return o
}

// check refuses what the worker could not: it never sees who listens to a stream's tokens.
func (o *requestOptions) check(command *wire.Command) error {
	if o.onToken != nil && command != wire.Batch {
		return invalidParams("stream",
			"WithOnToken is an option of BatchGenerate and BatchStream, not of `%s`; leave it out, and range over the stream",
			command.Name)
	}
	return nil
}

func field(set func(*requestFields)) RequestOption {
	return func(o *requestOptions) { set(&o.fields) }
}

// WithMaxTokens ends the text after so many tokens, with FinishLength. The default is 256.
func WithMaxTokens(n int) RequestOption {
	return field(func(f *requestFields) { f.MaxTokens = &n })
}

// WithTemperature sets the sampling temperature, 0 to 100. 0, the default, is greedy.
func WithTemperature(t float64) RequestOption {
	return field(func(f *requestFields) { f.Temperature = &t })
}

// WithTopK samples from the k likeliest tokens; 0, the default, is off.
func WithTopK(k int) RequestOption {
	return field(func(f *requestFields) { f.TopK = &k })
}

// WithTopP samples from the likeliest tokens that have probability p together; 0 and 1 are off.
func WithTopP(p float64) RequestOption {
	return field(func(f *requestFields) { f.TopP = &p })
}

// WithMinP leaves out tokens less likely than p times the likeliest; 0, the default, is off.
func WithMinP(p float64) RequestOption {
	return field(func(f *requestFields) { f.MinP = &p })
}

// WithStop ends the text before the first of these strings that occurs.
func WithStop(texts ...string) RequestOption {
	return field(func(f *requestFields) { f.Stop = texts })
}

// WithStopTokens ends the text before any of these tokens, beside the model's own.
func WithStopTokens(ids ...int) RequestOption {
	return field(func(f *requestFields) { f.StopTokens = ids })
}

// WithIgnoreEOS goes on past the model's own end of text.
func WithIgnoreEOS() RequestOption {
	on := true
	return field(func(f *requestFields) { f.IgnoreEOS = &on })
}

// WithMinTokens allows no end of text before so many tokens.
func WithMinTokens(n int) RequestOption {
	return field(func(f *requestFields) { f.MinTokens = &n })
}

// WithRepeatPenalty divides the positive logits of generated tokens, and multiplies the
// negative ones; 0 and 1 are off.
func WithRepeatPenalty(penalty float64) RequestOption {
	return field(func(f *requestFields) { f.RepeatPenalty = &penalty })
}

// WithPresencePenalty subtracts from the logit of each generated token, once.
func WithPresencePenalty(penalty float64) RequestOption {
	return field(func(f *requestFields) { f.PresencePenalty = &penalty })
}

// WithFrequencyPenalty subtracts from the logit of each generated token, for each time.
func WithFrequencyPenalty(penalty float64) RequestOption {
	return field(func(f *requestFields) { f.FrequencyPenalty = &penalty })
}

// WithPenaltyWindow counts the three penalties over the last n tokens; 0, the default, is all.
func WithPenaltyWindow(n int) RequestOption {
	return field(func(f *requestFields) { f.PenaltyWindow = &n })
}

// WithLogitBias adds to the logits of tokens, by their ids.
func WithLogitBias(bias map[int]float64) RequestOption {
	named := make(map[string]float64, len(bias))
	for id, value := range bias {
		named[strconv.Itoa(id)] = value
	}
	return field(func(f *requestFields) { f.LogitBias = named })
}

// WithXTC leaves out, with a probability, all but the least likely of the tokens above a
// threshold (at most 0.5).
func WithXTC(probability, threshold float64) RequestOption {
	return field(func(f *requestFields) {
		f.XTCProbability, f.XTCThreshold = &probability, &threshold
	})
}

// WithSeed makes sampling repeatable.
func WithSeed(seed uint64) RequestOption {
	return field(func(f *requestFields) { f.Seed = &seed })
}

// WithLogprobs gives each token its log-probability, and so many of the likeliest beside it.
func WithLogprobs(top int) RequestOption {
	on := true
	return field(func(f *requestFields) {
		f.Logprobs = &on
		if top != 0 {
			f.TopLogprobs = &top
		}
	})
}

// WithCache says whether what earlier prompts computed may be used again. The default is true.
func WithCache(reuse bool) RequestOption {
	return field(func(f *requestFields) { f.Cache = &reuse })
}

// WithThinking is the chat template's own switch; for Chat only.
func WithThinking(on bool) RequestOption {
	return field(func(f *requestFields) { f.Thinking = &on })
}

// WithSpecialTokens honours control tokens that are written in the messages, which are plain
// text otherwise; for Chat only.
func WithSpecialTokens(on bool) RequestOption {
	return field(func(f *requestFields) { f.SpecialTokens = &on })
}

// WithDeadline has the worker end the request with ErrDeadlineExceeded so long after it was
// read. A context's deadline is the client's own, and comes back as the context's error.
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
	given := append([]string{}, labels...) // none at all are for the worker to refuse
	return field(func(f *requestFields) { f.Labels = given })
}

// WithProgress is told how a prompt's computation comes on. It is called by the goroutine that
// waits for the request; what comes while it does something else is told by its last.
func WithProgress(tell func(Progress)) RequestOption {
	return func(o *requestOptions) { o.onProgress = tell }
}

// WithOnToken is told each token of a batch as it comes, with its prompt's Index, by the
// goroutine that waits for the batch; for BatchGenerate and BatchStream.
func WithOnToken(tell func(Token)) RequestOption {
	return func(o *requestOptions) { o.onToken = tell }
}
