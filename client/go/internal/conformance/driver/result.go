package main

import (
	"context"
	"errors"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// result is the line that the driver prints.
type result struct {
	Scenario      string   `json:"scenario"`
	Outcome       string   `json:"outcome"`
	Error         *failure `json:"error"`
	Text          string   `json:"text"`
	Tokens        int      `json:"tokens"`
	FinishReason  *string  `json:"finish_reason"`
	Seconds       float64  `json:"seconds"`
	ClosedSeconds float64  `json:"closed_seconds"`
	WorkerPID     *int     `json:"worker_pid"`
	Next          *next    `json:"next"`

	// Fields of single scenarios.
	Texts            []string           `json:"texts,omitempty"`
	TextsEqualLength *bool              `json:"texts_equal_length,omitempty"`
	Items            []map[string]any   `json:"items,omitempty"`
	Info             *mlxwire.ModelInfo `json:"info,omitempty"`
	Field            string             `json:"field,omitempty"`
}

type failure struct {
	Code            string `json:"code"`
	Retryable       bool   `json:"retryable"`
	Message         string `json:"message"`
	TokensDelivered int    `json:"tokens_delivered"`
}

// next is the result of the generate that follows the scenario's operation.
type next struct {
	Outcome string   `json:"outcome"`
	Text    string   `json:"text"`
	Error   *failure `json:"error"`
}

// describe returns an error as data. An error that is not the client's own is a defect: its code is
// in no list of codes, so the check fails.
func describe(err error) *failure {
	var own *mlxwire.Error
	switch {
	case errors.As(err, &own):
		return &failure{
			Code: string(own.Code), Retryable: own.Retryable, Message: own.Message,
			TokensDelivered: own.TokensDelivered,
		}
	case errors.Is(err, context.Canceled):
		return &failure{Code: "cancelled", Message: err.Error()}
	}
	return &failure{Code: "untyped", Message: err.Error()}
}
