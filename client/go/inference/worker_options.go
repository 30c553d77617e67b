//go:build !nomlxlm

package inference

import (
	"fmt"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// tokenOptions returns the options of generate, chat and batch. A 0 in TopP, MinP, TopK and
// RepeatPenalty switches them off on the wire, too.
func tokenOptions(options []GenerateOption) ([]mlxwire.RequestOption, error) {
	config := ApplyGenerateOpts(options)
	if config.ReturnLogits {
		return nil, refused("logits", "WithLogits is an option of Classify, and no other call returns logits; leave it out")
	}
	request := []mlxwire.RequestOption{
		mlxwire.WithMaxTokens(config.MaxTokens),
		mlxwire.WithTemperature(float64(config.Temperature)),
		mlxwire.WithTopK(config.TopK),
		mlxwire.WithTopP(float64(config.TopP)),
		mlxwire.WithMinP(float64(config.MinP)),
		mlxwire.WithRepeatPenalty(float64(config.RepeatPenalty)),
	}
	if len(config.StopTokens) > 0 {
		ids := make([]int, len(config.StopTokens))
		for i, id := range config.StopTokens {
			ids[i] = int(id)
		}
		request = append(request, mlxwire.WithStopTokens(ids...))
	}
	return request, nil
}

// classifyOptions returns the options of classify, which always returns the likeliest token. It
// accepts a token limit and a temperature of 0, because hosts do ask for them and they change
// nothing.
func classifyOptions(options []GenerateOption) ([]mlxwire.RequestOption, error) {
	config := ApplyGenerateOpts(options)
	for _, sampling := range []struct {
		field, option string
		set           bool
	}{
		{"max_tokens", "WithMaxTokens", config.MaxTokens < 1},
		{"temperature", "WithTemperature", config.Temperature != 0},
		{"top_k", "WithTopK", config.TopK != 0},
		{"top_p", "WithTopP", config.TopP != 0 && config.TopP != 1},
		{"min_p", "WithMinP", config.MinP != 0},
		{"stop_tokens", "WithStopTokens", len(config.StopTokens) > 0},
		{"repeat_penalty", "WithRepeatPenalty", config.RepeatPenalty != 0 && config.RepeatPenalty != 1},
	} {
		if sampling.set {
			return nil, refused(sampling.field,
				"Classify returns the likeliest token, and "+sampling.option+" would not change it; leave it out")
		}
	}
	if config.ReturnLogits {
		return []mlxwire.RequestOption{mlxwire.WithLogits()}, nil
	}
	return nil, nil
}

// loadOptions returns the options of load that differ from the defaults.
func loadOptions(config LoadConfig) ([]mlxwire.LoadOption, error) {
	if config.GPULayers != allLayers {
		return nil, fmt.Errorf("inference: mlx_lm computes all layers on one device, so GPULayers must be %d and not %d; leave it out",
			allLayers, config.GPULayers)
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
func refused(field, message string) error {
	return &mlxwire.Error{
		Code: mlxwire.ErrInvalidParams, Message: message, Data: map[string]any{"field": field},
	}
}
