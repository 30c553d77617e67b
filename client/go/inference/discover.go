package inference

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
)

// Discover lists the models in a folder: first the folder itself, if it is a model, then its
// subfolders one level deep, by name. A model is a folder with a config.json and at least one
// .safetensors file. The paths are absolute.
func Discover(dir string) ([]DiscoveredModel, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("inference: can't find the folder of models: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("inference: can't list the folder of models: %w", err)
	}
	var models []DiscoveredModel
	if model, ok := probe(dir); ok {
		models = append(models, model)
	}
	for _, entry := range entries {
		// A link to a folder counts, because probe follows it.
		if model, ok := probe(filepath.Join(dir, entry.Name())); ok {
			models = append(models, model)
		}
	}
	return models, nil
}

// DiscoverSeq gives the models of Discover one by one, and none if the folder can't be listed.
func DiscoverSeq(dir string) iter.Seq[DiscoveredModel] {
	return func(yield func(DiscoveredModel) bool) {
		models, _ := Discover(dir) // the sequence has no place for an error
		for _, model := range models {
			if !yield(model) {
				return
			}
		}
	}
}

// modelConfig holds the fields of a config.json that Discover reads.
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
	if json.Unmarshal(text, &config) == nil { // a folder with a broken config.json is listed too
		model.ModelType = family(config.ModelType)
		if q := cmp.Or(config.Quantization, config.QuantizationConfig); q != nil {
			model.QuantBits, model.QuantGroup = q.Bits, q.GroupSize
		}
	}
	return model, true
}

func countWeights(dir string) int {
	entries, _ := os.ReadDir(dir) // a folder that can't be read has no weights
	count := 0
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) == ".safetensors" && !entry.IsDir() {
			count++
		}
	}
	return count
}

// family returns the name that hosts know a kind of model by. A config.json may name the part for text
// alone, as gemma3_text does.
func family(modelType string) string { return strings.TrimSuffix(modelType, "_text") }
