package mlxwire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

var allCodes = []Code{
	ErrParseError, ErrInvalidRequest, ErrInvalidParams, ErrUnknownCommand, ErrNotInitialized,
	ErrUnsupportedProtocol, ErrUnsupportedCapability, ErrDuplicateID, ErrMessageTooLarge, ErrOverloaded,
	ErrShuttingDown, ErrModelNotLoaded, ErrModelNotFound, ErrModelLoadFailed, ErrUnsupportedModel,
	ErrContextOverflow, ErrOutOfMemory, ErrUnavailable, ErrTrainingFailed, ErrDeadlineExceeded, ErrInternal,
	ErrSpawnFailed, ErrHandshakeFailed, ErrWorkerCrashed, ErrTimeout, ErrDrainTimeout, ErrSlowConsumer,
	ErrCancelled, ErrProtocolViolation, ErrInvalidAnswer,
}

func TestTheCodesAreThoseOfTheSpecification(t *testing.T) {
	text, err := os.ReadFile("../../protocol/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## §6 Error codes")
	section, _, _ = strings.Cut(section, "\n## ")
	table, ours, _ := strings.Cut(section, "Made by a client")
	var want []Code
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)`").FindAllStringSubmatch(table, -1) {
		want = append(want, Code(row[1]))
	}
	for _, word := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(ours, -1) {
		want = append(want, Code(word[1]))
	}
	if !slices.Equal(allCodes, want) {
		t.Errorf("the codes are %q, the specification has %q", allCodes, want)
	}
}

func TestACodeMatchesItsOwnErrorsOnly(t *testing.T) {
	for _, code := range allCodes {
		err := error(newError(code, "m"))
		for _, other := range allCodes {
			if errors.Is(err, other) != (code == other) {
				t.Errorf("errors.Is(%s, %s) has the wrong result", code, other)
			}
		}
	}
}

func TestACodeIsPrintedAsItsText(t *testing.T) {
	err := newError(ErrOverloaded, "m")
	for _, text := range []string{
		fmt.Sprint(err.Code), fmt.Sprintf("%s", err.Code), fmt.Sprintf("%v", err.Code), err.Code.Error(),
		slog.AnyValue(err.Code).String(),
	} {
		if text != "overloaded" {
			t.Errorf("the code is printed as %q", text)
		}
	}
	if encoded, problem := json.Marshal(err.Code); string(encoded) != `"overloaded"` || problem != nil {
		t.Errorf("the code is encoded as %s, %v", encoded, problem)
	}
	if text := err.Error(); text != "mlxwire: overloaded: m" {
		t.Errorf("the error's text is %q", text)
	}
}

func TestAWrappedErrorIsFound(t *testing.T) {
	wrapped := errors.Join(errors.New("x"), fmt.Errorf("y: %w", invalidParams("stop", "m")))
	var own *Error
	if !errors.Is(wrapped, ErrInvalidParams) || errors.Is(wrapped, ErrInternal) || errors.Is(wrapped, context.Canceled) ||
		!errors.As(wrapped, &own) || own.Field() != "stop" {
		t.Errorf("errors.Is or errors.As fails for %v", wrapped)
	}
	var code Code
	if errors.As(wrapped, &code) {
		t.Errorf("errors.As found the Code %q in an *Error", code)
	}
}

func TestTheCodesOfTheSpecificationAreRetryable(t *testing.T) {
	for _, code := range allCodes {
		want := code == ErrOverloaded || code == ErrOutOfMemory || code == ErrUnavailable || code == ErrWorkerCrashed
		if newError(code, "m").Retryable != want {
			t.Errorf("Retryable of %s is wrong", code)
		}
	}
}

func TestAnErrorShowsTheEndOfStderr(t *testing.T) {
	err := newError(ErrWorkerCrashed, "gone")
	err.Stderr = "bus error\n"
	if want := "mlxwire: worker_crashed: gone\n--- stderr ---\nbus error"; err.Error() != want {
		t.Errorf("the error's text is %q", err.Error())
	}
}

func TestAnErrorUnwrapsToItsCause(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	file := program(t, "file", "exit 0")
	for name, c := range map[string]struct {
		option StartOption
		cause  error
	}{
		"a program that does not exist":     {WithCommand(missing), fs.ErrNotExist},
		"a program that is not on the PATH": {WithCommand("mlxwire-has-no-such-program"), fs.ErrNotExist},
		"the same for package exec":         {WithCommand("mlxwire-has-no-such-program"), exec.ErrNotFound},
		"a file that may not be run":        {WithCommand("errors.go"), exec.ErrNotFound},
		"a folder that does not exist":      {func(o *startOptions) { WithCommand(file)(o); WithDir(missing)(o) }, fs.ErrNotExist},
		"a file in the place of a folder":   {func(o *startOptions) { WithCommand(file)(o); WithDir(file)(o) }, syscall.ENOTDIR},
	} {
		if _, err := Start(deadlined(t), c.option); !errors.Is(err, ErrSpawnFailed) || !errors.Is(err, c.cause) {
			t.Errorf("%s gave %v, which has not the cause %v", name, err, c.cause)
		}
	}
	t.Setenv("PATH", missing)
	if _, err := findWorker(t.Context(), ""); !errors.Is(err, ErrSpawnFailed) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a worker FindWorker gave %v", err)
	}
	if newError(ErrInternal, "m").Unwrap() != nil {
		t.Error("an error without a cause has one")
	}
}

func TestTheCauseIsKeptInTheCopyOfEachRequest(t *testing.T) {
	err := delivered(closedStream(), 3)
	var own *Error
	if !errors.Is(err, ErrStreamClosed) || !errors.As(err, &own) || own.TokensDelivered != 3 {
		t.Errorf("the copy is %+v", err)
	}
}
