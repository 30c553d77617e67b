package mlxwire

import (
	"context"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/process"
)

// refuses fails the test unless err is an ErrInvalidParams whose message has the text.
func refuses(t *testing.T, call string, err error, text string) {
	t.Helper()
	if !errors.Is(err, ErrInvalidParams) || !strings.Contains(err.Error(), text) {
		t.Errorf("%s gave %v, want it refused with %q", call, err, text)
	}
}

// neverSpawns fails the test if Start spawns a process.
func neverSpawns(t *testing.T) StartOption {
	return func(o *startOptions) {
		o.command = []string{"scripted"}
		o.spawn = func(process.Command, process.Handlers) (child, error) {
			t.Error("a process was started")
			return nil, errors.New("not started")
		}
	}
}

// everyCall makes each call of a worker and a model that takes a context.
func everyCall(ctx context.Context, worker *Worker, model *Model) map[string]error {
	cache := model.Cache()
	failures := make(map[string]error)
	for name, call := range map[string]func() error{
		"Load":           func() error { _, err := worker.Load(ctx, "m"); return err },
		"Metrics":        func() error { _, err := worker.Metrics(ctx); return err },
		"CancelRequest":  func() error { _, err := worker.CancelRequest(ctx, "r1"); return err },
		"Memory":         func() error { _, err := worker.Memory(ctx); return err },
		"SetMemory":      func() error { _, err := worker.SetMemory(ctx, MemoryLimits{}); return err },
		"ClearMemory":    func() error { _, err := worker.ClearMemory(ctx); return err },
		"Generate":       func() error { _, err := collect(model.Generate(ctx, "p")); return err },
		"Chat":           func() error { _, err := collect(model.Chat(ctx, UserTurn("p"))); return err },
		"GenerateStream": func() error { _, err := model.GenerateStream(ctx, "p"); return err },
		"ChatStream":     func() error { _, err := model.ChatStream(ctx, UserTurn("p")); return err },
		"BatchGenerate":  func() error { _, err := model.BatchGenerate(ctx, []string{"p"}); return err },
		"BatchStream":    func() error { _, err := model.BatchStream(ctx, []string{"p"}); return err },
		"Classify":       func() error { _, err := model.Classify(ctx, []string{"p"}); return err },
		"Info":           func() error { _, err := model.Info(ctx); return err },
		"Tokenize":       func() error { _, err := model.Tokenize(ctx, "p"); return err },
		"TokenizeChat":   func() error { _, err := model.TokenizeChat(ctx, UserTurn("p")); return err },
		"Detokenize":     func() error { _, err := model.Detokenize(ctx, []int{1}); return err },
		"Cache.Stats":    func() error { _, err := cache.Stats(ctx); return err },
		"Cache.Clear":    func() error { _, err := cache.Clear(ctx); return err },
		"Cache.Warm":     func() error { _, err := cache.Warm(ctx, "p"); return err },
		"Cache.WarmChat": func() error { _, err := cache.WarmChat(ctx, UserTurn("p")); return err },
		"Cache.Save":     func() error { _, err := cache.Save(ctx, "f"); return err },
		"Cache.Load":     func() error { _, err := cache.Load(ctx, "f"); return err },
	} {
		failures[name] = call()
	}
	return failures
}

// silent is the script of a worker to which the client may send nothing but quit.
func silent(w *scriptedWorker) {
	request := w.next("quit")
	w.result(request.ID, `"ok":true`)
	w.exit(process.ExitState{})
}

func TestANilContextIsRefusedBeforeAnythingHappens(t *testing.T) {
	var none context.Context
	_, err := Start(none, neverSpawns(t))
	refuses(t, "Start", err, "context is nil")
	worker, model := startModel(t, windows, silent)
	for call, err := range everyCall(none, worker, model) {
		refuses(t, call, err, "context is nil")
	}
	if err := worker.Close(); err != nil {
		t.Error(err)
	}
}

func TestACallWhoseContextHasEndedSendsNothing(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := Start(ended, neverSpawns(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("Start gave %v", err)
	}
	worker, model := startModel(t, windows, silent)
	for call, err := range everyCall(ended, worker, model) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s gave %v", call, err)
		}
	}
	if err := worker.Close(); err != nil {
		t.Error(err)
	}
}

func TestANilOptionIsRefusedByItsPosition(t *testing.T) {
	ctx := deadlined(t)
	_, err := Start(ctx, neverSpawns(t), nil)
	refuses(t, "Start", err, "option 2 of Start is nil")
	worker, model := startModel(t, windows, silent)
	_, err = worker.Load(ctx, "m", nil)
	refuses(t, "Load", err, "option 1 of Load is nil")
	_, err = collect(model.Generate(ctx, "p", WithMaxTokens(1), nil))
	refuses(t, "Generate", err, "option 2")
	_, err = model.Classify(ctx, []string{"p"}, nil)
	refuses(t, "Classify", err, "option 1")
	_, err = model.Tokenize(ctx, "p", nil)
	refuses(t, "Tokenize", err, "option 1")
	if err := worker.Close(); err != nil {
		t.Error(err)
	}
}

func TestNilListenersAreThoseThatWereLeftOut(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) { w.answers(1) },
		WithStderr(nil), WithLogger(nil), WithOnEvent(nil), WithHeartbeat(nil))
	if text := read(t, model.Generate(deadlined(t), "p", WithProgress(nil), WithOnToken(nil))); text != "t0" {
		t.Errorf("the text is %q", text)
	}
}

func TestAFieldThatIsLeftOutHasItsDefault(t *testing.T) {
	o, err := applyStartOptions([]StartOption{
		WithRestart(RestartPolicy{MaxRestarts: 7}),
		WithLiveness(LivenessLimits{Silence: time.Second, Phases: map[Phase]time.Duration{PhaseDecode: NoLimit}}),
		WithShutdownLimits(ShutdownLimits{Quit: time.Second}),
	})
	if err != nil {
		t.Fatal(err)
	}
	policy, limits := DefaultRestartPolicy(), DefaultShutdownLimits()
	policy.MaxRestarts, limits.Quit = 7, time.Second
	if *o.restart != policy || o.shutdown != limits {
		t.Errorf("the policy is %+v, the limits of the shutdown are %+v", *o.restart, o.shutdown)
	}
	liveness := DefaultLivenessLimits()
	liveness.Silence, liveness.Phases[PhaseDecode] = time.Second, 0
	if !reflect.DeepEqual(*o.liveness, liveness) {
		t.Errorf("the limits of liveness are %+v, want %+v", *o.liveness, liveness)
	}
}

func TestADefaultBackoffGivesWayToTheOtherBound(t *testing.T) {
	for _, c := range []struct{ given, want RestartPolicy }{
		{RestartPolicy{BackoffMin: time.Minute}, RestartPolicy{BackoffMin: time.Minute, BackoffMax: time.Minute}},
		{RestartPolicy{BackoffMax: time.Millisecond}, RestartPolicy{BackoffMin: time.Millisecond, BackoffMax: time.Millisecond}},
	} {
		if err := c.given.complete(); err != nil || c.given.BackoffMin != c.want.BackoffMin || c.given.BackoffMax != c.want.BackoffMax {
			t.Errorf("the policy became %+v, %v", c.given, err)
		}
	}
}

func TestOneOptionServesManyStarts(t *testing.T) {
	options := []StartOption{WithLiveness(LivenessLimits{Silence: NoLimit}), WithRestart(RestartPolicy{})}
	for range 2 {
		o, err := applyStartOptions(options)
		if err != nil || o.liveness.Silence != 0 || *o.restart != DefaultRestartPolicy() {
			t.Errorf("the options became %+v, %+v, %v", o.liveness, o.restart, err)
		}
	}
}

func TestAWrongFieldOfAStructIsRefusedByItsName(t *testing.T) {
	for name, option := range map[string]StartOption{
		"RestartPolicy.MaxRestarts is -1":        WithRestart(RestartPolicy{MaxRestarts: -1}),
		"RestartPolicy.Window is -1ns":           WithRestart(RestartPolicy{Window: -1}),
		"RestartPolicy.BackoffMin is -1ns":       WithRestart(RestartPolicy{BackoffMin: -1}),
		"RestartPolicy.BackoffMax is -1ns":       WithRestart(RestartPolicy{BackoffMax: -1}),
		"RestartPolicy.BackoffMin is 2ns":        WithRestart(RestartPolicy{BackoffMin: 2, BackoffMax: 1}),
		"RestartPolicy.Jitter is NaN":            WithRestart(RestartPolicy{Jitter: math.NaN()}),
		"RestartPolicy.Jitter is -0.1":           WithRestart(RestartPolicy{Jitter: -0.1}),
		"RestartPolicy.Jitter is +Inf":           WithRestart(RestartPolicy{Jitter: math.Inf(1)}),
		"LivenessLimits.Silence is -1ns":         WithLiveness(LivenessLimits{Silence: -1}),
		"LivenessLimits.Step is -1ns":            WithLiveness(LivenessLimits{Step: -1}),
		`LivenessLimits.Phases["load"] is -1ns`:  WithLiveness(LivenessLimits{Phases: map[Phase]time.Duration{PhaseLoad: -1}}),
		"ShutdownLimits.Quit is -1ns":            WithShutdownLimits(ShutdownLimits{Quit: -1}),
		"ShutdownLimits.CloseStdin is -1ns":      WithShutdownLimits(ShutdownLimits{CloseStdin: -1}),
		"ShutdownLimits.Terminate is -1ns":       WithShutdownLimits(ShutdownLimits{Terminate: -1}),
		"ShutdownLimits.Kill is -1ns":            WithShutdownLimits(ShutdownLimits{Kill: -1}),
		"WithCommand was given an empty program": WithCommand(""),
	} {
		_, err := Start(deadlined(t), neverSpawns(t), option)
		refuses(t, name, err, name)
	}
}

func TestAnIdleTimeoutOf0IsNever(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) { w.answers(1) }, WithIdleTimeout(0))
	if text := read(t, model.Generate(deadlined(t), "p")); text != "t0" {
		t.Errorf("the text is %q", text)
	}
}

func TestAnErrorNamesTheOptionThatTheCallerWrote(t *testing.T) {
	worker, model := startMock(t)
	ctx, nan := deadlined(t), math.NaN()
	for option, with := range map[string]RequestOption{
		"WithMaxTokens": WithMaxTokens(-1), "WithTemperature": WithTemperature(nan), "WithTopK": WithTopK(-1),
		"WithTopP": WithTopP(-0.5), "WithMinP": WithMinP(math.Inf(-1)), "WithStop[1]": WithStop("a", "\xff"),
		"WithStopTokens[0]": WithStopTokens(-1), "WithMinTokens": WithMinTokens(-1), "WithRepeatPenalty": WithRepeatPenalty(-1),
		"WithPresencePenalty": WithPresencePenalty(nan), "WithFrequencyPenalty": WithFrequencyPenalty(1e9),
		"WithPenaltyWindow": WithPenaltyWindow(1), "WithLogitBias[3]": WithLogitBias(map[int]float64{3: nan}),
		"WithXTC": WithXTC(0.5, 0.7), "WithLogprobs": WithLogprobs(-1), "WithDeadline": WithDeadline(0),
		"WithThinking": WithThinking(true), "WithLogits": WithLogits(),
	} {
		_, err := collect(model.Generate(ctx, "p", with))
		refuses(t, option, err, "`"+option+"`")
	}
	for option, with := range map[string]LoadOption{
		"WithContextLen": WithContextLen(0), "WithParallelSlots": WithParallelSlots(-1), "WithContextPolicy": WithContextPolicy("x"),
		"WithKVBits": WithKVBits(5, 64), "WithPrefillSlice": WithPrefillSlice(-1), "WithComputeDtype": WithComputeDtype("\xff"),
		"WithMemoryLimit": WithMemoryLimit(math.MaxUint64), "WithPromptCacheLimit": WithPromptCacheLimit(math.MaxUint64),
	} {
		_, err := worker.Load(ctx, "any", with)
		refuses(t, option, err, "`"+option+"`")
	}
	huge := uint64(math.MaxUint64)
	_, err := worker.SetMemory(ctx, MemoryLimits{Buffer: &huge})
	refuses(t, "SetMemory", err, "`MemoryLimits.Buffer`")
	_, err = worker.CancelRequest(ctx, strings.Repeat("x", 200))
	refuses(t, "CancelRequest", err, "`id`")
	if text := read(t, model.Generate(ctx, "still there")); text != "still there" {
		t.Errorf("afterwards the worker answers %q", text)
	}
}

func TestEveryFieldOfARequestNamesADeclaredOption(t *testing.T) {
	declared := slices.Concat(declaredOptions(t, "start_options.go"),
		declaredOptions(t, "load_options.go"), declaredOptions(t, "request_options.go"))
	for _, fields := range []reflect.Type{reflect.TypeFor[requestFields](), reflect.TypeFor[loadFields]()} {
		names := optionNames(fields)
		for _, field := range wireFields(fields) {
			if option := names[field]; field != "path" && !slices.Contains(declared, option) {
				t.Errorf("the field %s names the option %q, which is not declared", field, option)
			}
		}
	}
	limits := reflect.TypeFor[MemoryLimits]()
	for field, option := range optionNames(reflect.TypeFor[memoryFields]()) {
		name, _ := strings.CutPrefix(option, limits.Name()+".")
		if _, ok := limits.FieldByName(name); !ok {
			t.Errorf("the field %s names %s, which does not exist", field, option)
		}
	}
	if text := nameOptions("`stop[0]` and `context_len` of `generate`", generateFields{}); text != "`WithStop[0]` and `WithContextLen` of `generate`" {
		t.Errorf("the message became %s", text)
	}
}
