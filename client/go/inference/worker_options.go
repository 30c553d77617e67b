//go:build !nomlxlm

package inference

import (
	"fmt"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// tokenOptions are those of a config, for generate, chat and batch. TopP, MinP, TopK and
// RepeatPenalty are off at 0 on the wire too.
func tokenOptions(options []GenerateOption) ([]mlxwire.RequestOption, error) {
	config := ApplyGenerateOpts(options)
	if config.ReturnLogits {
		return nil, refused("logits", "WithLogits is an option of Classify: no other call gives logits; leave it out")
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

// classifyOptions are those of a config, for classify, which gives the likeliest token whatever
// sampling would have chosen. Hosts do ask it for one token, or for temperature 0: that is what
// they get.
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
				"Classify gives the one likeliest token, which "+sampling.option+" would not change; leave it out")
		}
	}
	if config.ReturnLogits {
		return []mlxwire.RequestOption{mlxwire.WithLogits()}, nil
	}
	return nil, nil
}

// loadOptions are those of a config that say something.
func loadOptions(config LoadConfig) ([]mlxwire.LoadOption, error) {
	if config.GPULayers != allLayers {
		return nil, fmt.Errorf("inference: mlx_lm computes all layers on one device: leave GPULayers at %d, not %d",
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

// refused is an option that can't be heeded.
func refused(field, message string) error {
	return &mlxwire.Error{
		Code: mlxwire.ErrInvalidParams, Message: message, Data: map[string]any{"field": field},
	}
}
