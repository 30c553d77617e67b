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

// status returns the HTTP status of an error. It depends on who can act: the client by changing the
// question (4xx) or by asking again (503, 504), or the operator of the daemon (500).
func status(err error) int {
	var own *mlxwire.Error
	if !errors.As(err, &own) {
		return http.StatusServiceUnavailable // the request's context ended, so nobody reads this answer
	}
	switch own.Code {
	case mlxwire.ErrInvalidRequest, mlxwire.ErrInvalidParams, mlxwire.ErrContextOverflow:
		return http.StatusBadRequest
	case mlxwire.ErrMessageTooLarge:
		return http.StatusRequestEntityTooLarge
	case mlxwire.ErrOverloaded, mlxwire.ErrOutOfMemory, mlxwire.ErrUnavailable, mlxwire.ErrWorkerCrashed, mlxwire.ErrShuttingDown:
		return http.StatusServiceUnavailable
	case mlxwire.ErrTimeout, mlxwire.ErrDeadlineExceeded:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// describe returns the parts of an error that a client can act on.
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
	_ = json.NewEncoder(w).Encode(body) // the error only says that the client hung up
}
