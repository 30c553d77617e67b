//go:build !nomlxlm

package inference

import (
	"context"
	"fmt"
	"math"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// A call is a kind of request. Each kind has its own options.
type call int

const (
	generating call = iota // and batches
	chatting
	classifying
)

// requestOptions checks the options of a call, and returns those of the request. Nothing has been sent
// yet. A 0 in TopP, MinP, TopK and RepeatPenalty switches them off on the wire, too.
func requestOptions(ctx context.Context, call call, config GenerateConfig) ([]mlxwire.RequestOption, error) {
	if ctx == nil {
		return nil, errNilContext
	}
	if err := checkValues(config); err != nil {
		return nil, err
	}
	request := []mlxwire.RequestOption{
		mlxwire.WithTemperature(float64(config.Temperature)),
		mlxwire.WithTopK(config.TopK),
		mlxwire.WithTopP(float64(config.TopP)),
		mlxwire.WithMinP(float64(config.MinP)),
	}
	if config.Seed != nil {
		request = append(request, mlxwire.WithSeed(*config.Seed))
	}
	if config.Thinking != nil && call != chatting {
		return nil, refused("thinking", "WithThinking is an option of Chat, whose template has the switch; leave it out")
	}
	if config.ThoughtSink != nil && call != chatting {
		return nil, refused("thinking", "WithThoughtSink is an option of Chat; the texts of other calls have no thoughts of their own, so leave it out")
	}
	if call == classifying {
		return classifyOptions(request, config)
	}
	if config.ReturnLogits {
		return nil, refused("logits", "WithLogits is an option of Classify, and no other call returns logits; leave it out")
	}
	return tokenOptions(request, config), nil
}

// tokenOptions adds the options of generate, chat and batch.
func tokenOptions(request []mlxwire.RequestOption, config GenerateConfig) []mlxwire.RequestOption {
	request = append(request,
		mlxwire.WithMaxTokens(config.MaxTokens),
		mlxwire.WithRepeatPenalty(float64(config.RepeatPenalty)))
	if len(config.StopTokens) > 0 {
		ids := make([]int, len(config.StopTokens))
		for i, id := range config.StopTokens {
			ids[i] = int(id)
		}
		request = append(request, mlxwire.WithStopTokens(ids...))
	}
	if config.MinTokens > 0 {
		request = append(request, mlxwire.WithMinTokens(config.MinTokens))
	}
	if len(config.LogitBias) > 0 {
		bias := make(map[int]float64, len(config.LogitBias))
		for id, value := range config.LogitBias {
			bias[int(id)] = float64(value)
		}
		request = append(request, mlxwire.WithLogitBias(bias))
	}
	if config.Thinking != nil {
		request = append(request, mlxwire.WithThinking(*config.Thinking))
	}
	if config.Adapter != "" {
		request = append(request, mlxwire.WithLoadedAdapter(config.Adapter))
	}
	if config.Cache != nil {
		request = append(request, mlxwire.WithCache(*config.Cache))
	}
	return request
}

// classifyOptions adds the options of classify, which returns one token for each prompt. Some options
// can't change that token, and classifyOptions ignores them, because hosts do give them: a token limit;
// a repeat penalty, which counts generated tokens; and the prompt cache, which classify does not use.
func classifyOptions(request []mlxwire.RequestOption, config GenerateConfig) ([]mlxwire.RequestOption, error) {
	for _, unfit := range []struct {
		field, option string
		set           bool
	}{
		{"max_tokens", "WithMaxTokens(0)", config.MaxTokens < 1},
		{"min_tokens", "WithMinTokens", config.MinTokens != 0},
		{"stop_tokens", "WithStopTokens", len(config.StopTokens) > 0},
		{"logit_bias", "WithLogitBias", len(config.LogitBias) > 0},
	} {
		if unfit.set {
			return nil, refused(unfit.field, "Classify returns one token for each prompt and can't honour %s; leave it out", unfit.option)
		}
	}
	if config.Temperature == 0 {
		request = nil // the likeliest token; an older worker knows no options for it
	}
	if config.ReturnLogits {
		request = append(request, mlxwire.WithLogits())
	}
	if config.Adapter != "" {
		request = append(request, mlxwire.WithLoadedAdapter(config.Adapter))
	}
	return request, nil
}

// checkValues refuses the values that no call accepts. The worker checks upper bounds.
func checkValues(config GenerateConfig) error {
	for _, number := range []struct {
		field, option string
		value         float64
	}{
		{"max_tokens", "WithMaxTokens", float64(config.MaxTokens)},
		{"min_tokens", "WithMinTokens", float64(config.MinTokens)},
		{"temperature", "WithTemperature", float64(config.Temperature)},
		{"top_k", "WithTopK", float64(config.TopK)},
		{"top_p", "WithTopP", float64(config.TopP)},
		{"min_p", "WithMinP", float64(config.MinP)},
		{"repeat_penalty", "WithRepeatPenalty", float64(config.RepeatPenalty)},
	} {
		if !(number.value >= 0) || math.IsInf(number.value, 0) { // NaN is not at least 0
			return refused(number.field, "%s is %v; give a number of at least 0, or leave it out", number.option, number.value)
		}
	}
	for i, id := range config.StopTokens {
		if id < 0 {
			return refused(fmt.Sprintf("stop_tokens[%d]", i), "WithStopTokens has the id %d; give ids of at least 0", id)
		}
	}
	for id, value := range config.LogitBias {
		if number := float64(value); id < 0 || math.IsNaN(number) || math.IsInf(number, 0) {
			return refused(fmt.Sprintf("logit_bias.%d", id),
				"WithLogitBias gives the token %d the value %v; give ids of at least 0 and finite numbers", id, value)
		}
	}
	return nil
}

// loadOptions checks the options of a load, and returns those that differ from the defaults.
func loadOptions(config LoadConfig) ([]mlxwire.LoadOption, error) {
	for _, number := range []struct {
		field, option string
		value, least  int
	}{
		{"context_len", "WithContextLen", config.ContextLen, 0},
		{"gpu_layers", "WithGPULayers", config.GPULayers, allLayers},
		{"parallel_slots", "WithParallelSlots", config.ParallelSlots, 0},
	} {
		if number.value < number.least {
			return nil, refused(number.field, "%s is %d; give at least %d, or leave it out", number.option, number.value, number.least)
		}
	}
	var load []mlxwire.LoadOption
	if config.ContextLen != 0 {
		load = append(load, mlxwire.WithContextLen(config.ContextLen))
	}
	if config.ParallelSlots != 0 {
		load = append(load, mlxwire.WithParallelSlots(config.ParallelSlots))
	}
	if config.AdapterPath != "" {
		load = append(load, mlxwire.WithAdapter(config.AdapterPath))
	}
	return load, nil
}

// refused is the error of an option that a call can't apply.
func refused(field, format string, arguments ...any) error {
	failure := fault(mlxwire.ErrInvalidParams, format, arguments...)
	failure.Data = map[string]any{"field": field}
	return failure
}

func fault(code mlxwire.Code, format string, arguments ...any) *mlxwire.Error {
	return &mlxwire.Error{Code: code, Message: fmt.Sprintf(format, arguments...)}
}
