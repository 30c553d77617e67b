package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// maxBodyBytes bounds the body of a request.
const maxBodyBytes = 1 << 20

// A question is the body of POST /chat. The worker has defaults for missing fields and checks the
// values of the others.
type question struct {
	Messages    []mlxwire.Message `json:"messages"`
	MaxTokens   *int              `json:"max_tokens"`
	Temperature *float64          `json:"temperature"`
}

// fieldNames puts the names of a question's fields into the messages of errors, which name the options
// that this program has passed.
var fieldNames = strings.NewReplacer("WithMaxTokens", "max_tokens", "WithTemperature", "temperature")

func (q question) options() []mlxwire.RequestOption {
	var options []mlxwire.RequestOption
	if q.MaxTokens != nil {
		options = append(options, mlxwire.WithMaxTokens(*q.MaxTokens))
	}
	if q.Temperature != nil {
		options = append(options, mlxwire.WithTemperature(*q.Temperature))
	}
	return options
}

// readQuestion reads one JSON object and accepts nothing after it. It refuses unknown fields, because
// a client that sends one expects it to have an effect.
func readQuestion(w http.ResponseWriter, r *http.Request) (question, error) {
	var asked question
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&asked)
	if err == nil {
		if _, end := decoder.Token(); end == io.EOF {
			return asked, nil
		}
		err = errors.New("there is more text after the question")
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return question{}, &mlxwire.Error{Code: mlxwire.ErrMessageTooLarge, Message: err.Error()}
	}
	return question{}, &mlxwire.Error{
		Code:    mlxwire.ErrInvalidRequest,
		Message: `the body is not a question such as {"messages":[{"role":"user","content":"Hello"}]}: ` + err.Error(),
	}
}
