package inference

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Discover lists the models of a folder: the folder itself first, if it is one, then its folders,
// one level deep, by name. A model has a config.json and at least one .safetensors file.
func Discover(dir string) ([]DiscoveredModel, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("inference: can't look for models: %w", err)
	}
	var models []DiscoveredModel
	if model, ok := probe(dir); ok {
		models = append(models, model)
	}
	for _, entry := range entries {
		// A link to a folder counts: probe follows it.
		if model, ok := probe(filepath.Join(dir, entry.Name())); ok {
			models = append(models, model)
		}
	}
	return models, nil
}

// modelConfig is what is read of a config.json.
type modelConfig struct {
	ModelType          string        `json:"model_type"`
	Quantization       *quantization `json:"quantization"`
	QuantizationConfig *quantization `json:"quantization_config"`
}

type quantization struct {
	Bits      int `json:"bits"`
	GroupSize int `json:"group_size"`
}

func probe(dir string) (DiscoveredModel, bool) {
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return DiscoveredModel{}, false
	}
	files := countWeights(dir)
	if files == 0 {
		return DiscoveredModel{}, false
	}
	model := DiscoveredModel{Path: dir, NumFiles: files}
	var config modelConfig
	if json.Unmarshal(text, &config) == nil { // a broken one is still there to be seen
		model.ModelType = config.ModelType
		if q := cmp.Or(config.Quantization, config.QuantizationConfig); q != nil {
			model.QuantBits, model.QuantGroup = q.Bits, q.GroupSize
		}
	}
	return model, true
}

func countWeights(dir string) int {
	entries, _ := os.ReadDir(dir) // one that can't be read has none
	count := 0
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) == ".safetensors" && !entry.IsDir() {
			count++
		}
	}
	return count
}
