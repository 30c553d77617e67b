package main

import (
	"encoding/json"
	"errors"
	"net/http"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// refuse answers a question that failed before its answer began.
func refuse(w http.ResponseWriter, err error) {
	var own *mlxwire.Error
	if errors.As(err, &own) && own.Retryable {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, status(err), describe(err))
}

// status says who has to do something: who asked, who waits, or who runs this.
func status(err error) int {
	var own *mlxwire.Error
	if !errors.As(err, &own) {
		return http.StatusServiceUnavailable // the request's context ended: nobody reads this
	}
	switch own.Code {
	case mlxwire.ErrInvalidRequest, mlxwire.ErrInvalidParams, mlxwire.ErrContextOverflow:
		return http.StatusBadRequest
	case mlxwire.ErrMessageTooLarge:
		return http.StatusRequestEntityTooLarge
	case mlxwire.ErrOverloaded, mlxwire.ErrOutOfMemory, mlxwire.ErrWorkerCrashed, mlxwire.ErrShuttingDown:
		return http.StatusServiceUnavailable
	case mlxwire.ErrTimeout, mlxwire.ErrDeadlineExceeded:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// describe tells a client what it can act upon.
func describe(err error) map[string]any {
	var own *mlxwire.Error
	if !errors.As(err, &own) {
		return map[string]any{"code": mlxwire.ErrCancelled, "message": err.Error()}
	}
	told := map[string]any{
		"code": own.Code, "message": own.Message,
		"retryable": own.Retryable, "tokens_delivered": own.TokensDelivered,
	}
	if field := own.Field(); field != "" {
		told["field"] = field
	}
	return told
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that hung up is told nothing
}
