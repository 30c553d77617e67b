package mlxwire

import (
	"errors"
	"slices"
	"testing"
)

func TestARestartSetsTheLastLimitsAgainAfterTheLoad(t *testing.T) {
	replayed := make(chan scriptedRequest, 8)
	worker, err := Start(deadlined(t), WithRestart(promptPolicy(3)), scripted(t,
		func(w *scriptedWorker) {
			w.greet(windows)
			w.load()
			w.memory()
			w.memory()
			w.fails(w.next("memory").ID, "invalid_params")
			w.next("info")
			w.exit(crash)
		},
		func(w *scriptedWorker) {
			w.greet(windows)
			replayed <- w.load()
			replayed <- w.memory()
			w.load() // another model, which has limits of its own
			w.next("info")
			w.exit(crash)
		},
		func(w *scriptedWorker) {
			w.greet(windows)
			replayed <- w.load()
			replayed <- w.memory()
			w.result(w.next("cancel").ID, `"outcome":"unknown","cancelled":0`)
			w.result(w.next("unload").ID, `"ok":true`)
			w.next("metrics")
			w.exit(crash)
		},
		func(w *scriptedWorker) {
			w.greet(windows)
			replayed <- w.memory()
			w.quit()
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	ctx := deadlined(t)
	model, err := worker.Load(ctx, "m", WithAdapter("lora"), WithMemoryLimit(9))
	if err != nil {
		t.Fatal(err)
	}
	bytes := func(n uint64) *uint64 { return &n }
	for _, limits := range []MemoryLimits{{Memory: bytes(1), Buffer: bytes(2)}, {Buffer: bytes(3)}} {
		if _, err := worker.SetMemory(ctx, limits); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := worker.SetMemory(ctx, MemoryLimits{Wired: bytes(7)}); !errors.Is(err, ErrInvalidParams) {
		t.Errorf("the refused limits gave %v", err)
	}
	dies := func(_ any, err error) {
		t.Helper()
		if !errors.Is(err, ErrWorkerCrashed) {
			t.Error(err)
		}
	}
	dies(model.Info(ctx))
	other, err := worker.Load(ctx, "n")
	if err != nil {
		t.Fatal(err)
	}
	dies(other.Info(ctx))
	if _, err := worker.CancelRequest(ctx, "none"); err != nil { // the process has loaded the model again by now
		t.Error(err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	dies(worker.Metrics(ctx))

	for _, want := range [][]string{
		{"adapter_path=lora", "cmd=load", "memory_limit=9", "path=m"},
		{"buffer_limit=3", "cmd=memory", "memory_limit=1"},
		{"cmd=load", "path=n"},
		{"buffer_limit=3", "cmd=memory"},
		{"buffer_limit=3", "cmd=memory"},
	} {
		if got := (<-replayed).fields(t); !slices.Equal(got, want) {
			t.Errorf("the new process was sent %v, want %v", got, want)
		}
	}
}
