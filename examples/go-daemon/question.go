package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// maxBodyBytes bounds a request, as a conversation is.
const maxBodyBytes = 1 << 20

// A question is the body of POST /chat. What it leaves out is the worker's default; what it says
// is the worker's to check.
type question struct {
	Messages    []mlxwire.Message `json:"messages"`
	MaxTokens   *int              `json:"max_tokens"`
	Temperature *float64          `json:"temperature"`
}

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

// readQuestion takes one JSON object and nothing else: a field that is not known is most likely
// an option that somebody counts on.
func readQuestion(w http.ResponseWriter, r *http.Request) (question, error) {
	var asked question
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&asked)
	if err == nil {
		if _, end := decoder.Token(); end == io.EOF {
			return asked, nil
		}
		err = errors.New("there is more after the question")
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return question{}, &mlxwire.Error{Code: mlxwire.ErrMessageTooLarge, Message: err.Error()}
	}
	return question{}, &mlxwire.Error{
		Code:    mlxwire.ErrInvalidRequest,
		Message: `the body is no question such as {"messages":[{"role":"user","content":"Hello"}]}: ` + err.Error(),
	}
}
