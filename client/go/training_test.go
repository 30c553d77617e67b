package mlxwire

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

const saved = "/out/checkpoints/3"

// report writes the progress of one step of a training.
func (w *scriptedWorker) report(id string, step int) {
	w.say(`{"id":%q,"type":"progress","stage":"train","done":%d,"total":4,"step":%d,"loss":%d,"validation_loss":null,`+
		`"learning_rate":0.01,"tokens":30,"seconds":1.5,"tokens_per_second":20,"peak_memory_bytes":1000,"seconds_left":4.5}`,
		id, step, step, 10-step)
}

// trained writes the result of a training.
func (w *scriptedWorker) trained(id string) {
	w.result(id, `"adapter":"/out","method":"lora","format":"mlx","first_loss":9,"last_loss":8,"validation_loss":null,"steps":2,`+
		`"tokens":60,"rows":8,"truncated_rows":0,"seconds":3,"peak_memory_bytes":1000,"loaded_as":"poet"`)
}

func (w *scriptedWorker) stopped(id string) {
	w.say(`{"id":%q,"type":"done","final":true,"done":true,"finish_reason":"cancelled","stage":"train","tokens_generated":0,`+
		`"metrics":{},"checkpoint":%q,"step":3}`, id, saved)
}

func begin(t *testing.T, ctx context.Context, model *Model, options TrainOptions) *Training {
	t.Helper()
	training, err := model.Train(ctx, "/data", "/out", options)
	if err != nil {
		t.Fatal(err)
	}
	return training
}

func TestATrainingGivesItsStepsAndItsResult(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("train").ID
		w.say(`{"id":%q,"type":"progress","stage":"check","done":1,"total":2}`, id)
		w.report(id, 1)
		w.report(id, 2)
		w.trained(id)
	})
	training := begin(t, deadlined(t), model, TrainOptions{})
	var steps []int
	for step, err := range training.Progress() {
		if err != nil || step.Loss != float64(10-step.Step) || step.ValidationLoss != nil {
			t.Errorf("a report is %+v, %v", step, err)
		}
		steps = append(steps, step.Step)
	}
	for range 2 {
		result, err := training.Result()
		if err != nil || !slices.Equal(steps, []int{1, 2}) || result.Steps != 2 || *result.LoadedAs != "poet" {
			t.Errorf("the steps are %v, the result is %+v, %v", steps, result, err)
		}
	}
	if training.Checkpoint() != "" {
		t.Errorf("a training that succeeded names the checkpoint %q", training.Checkpoint())
	}
}

func TestATrainingSendsZerosAndLeavesOutWhatWasLeftOut(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		train := w.next("train")
		want := []string{
			"batch_size=2", "cmd=train", "data=/data", "evaluate_every=0", "keys=[q_proj]", "out=/out", "resume=true",
			"validation=0.25",
		}
		if got := train.fields(t); !slices.Equal(got, want) {
			t.Errorf("the client sent %q, want %q", got, want)
		}
		w.trained(train.ID)
	})
	two, never := 2, 0
	options := TrainOptions{EvaluateEvery: &never, Validation: 0.25, Keys: []string{"q_proj"}, Resume: true}
	options.BatchSize = &two
	if _, err := begin(t, deadlined(t), model, options).Result(); err != nil {
		t.Error(err)
	}
}

func TestEveryStageIsTold(t *testing.T) {
	told, heard := make(chan Stage, 1), make(chan struct{})
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("train").ID
		w.say(`{"id":%q,"type":"progress","stage":"check","done":1,"total":2}`, id)
		<-heard
		w.trained(id)
	})
	options := TrainOptions{OnProgress: func(p Progress) { told <- p.Stage; close(heard) }}
	if _, err := begin(t, deadlined(t), model, options).Result(); err != nil {
		t.Error(err)
	}
	if stage := <-told; stage != StageCheck {
		t.Errorf("the stage %q was told", stage)
	}
}

func TestACancelWaitsForTheCheckpoint(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("train").ID
		w.report(id, 1)
		if cancel := w.next("cancel"); cancel.Target != id {
			t.Errorf("%s was cancelled", cancel.Target)
		}
		w.stopped(id)
	})
	training := begin(t, deadlined(t), model, TrainOptions{})
	if checkpoint, err := training.Cancel(); checkpoint != saved || err != nil {
		t.Errorf("the cancel returned %q, %v", checkpoint, err)
	}
	_, err := training.Result()
	var own *Error
	if !errors.As(err, &own) || own.Code != ErrCancelled || own.Data["checkpoint"] != saved {
		t.Errorf("the result is %v", err)
	}
}

func TestLeavingTheRangeOrTheContextCancelsATraining(t *testing.T) {
	for name, leave := range map[string]func(*Training, context.CancelFunc){
		"range": func(training *Training, _ context.CancelFunc) {
			for range training.Progress() {
				break
			}
		},
		"context": func(_ *Training, end context.CancelFunc) { end() },
	} {
		t.Run(name, func(t *testing.T) {
			_, model := startModel(t, windows, func(w *scriptedWorker) {
				id := w.next("train").ID
				w.report(id, 1)
				w.next("cancel")
				w.stopped(id)
			})
			ctx, end := context.WithCancel(deadlined(t))
			defer end()
			training := begin(t, ctx, model, TrainOptions{})
			leave(training, end)
			await(t, "the end", training.request.drained)
			if training.Checkpoint() != saved {
				t.Errorf("the checkpoint is %q", training.Checkpoint())
			}
			if _, err := training.Result(); err == nil {
				t.Error("a training that was left has a result")
			}
		})
	}
}

func TestAFailedTrainingNamesItsLastGoodCheckpoint(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		w.say(`{"id":%q,"type":"error","final":true,"error":{"code":"training_failed","message":"NaN","retryable":false,`+
			`"data":{"checkpoint":%q}}}`, w.next("train").ID, saved)
	})
	training := begin(t, deadlined(t), model, TrainOptions{})
	if _, err := training.Result(); !errors.Is(err, ErrTrainingFailed) || training.Checkpoint() != saved {
		t.Errorf("the result is %v, the checkpoint %q", err, training.Checkpoint())
	}
}

func TestReportsThatNobodyReadsAreBounded(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("train").ID
		for step := range mostReports + 5 {
			w.report(id, step)
		}
		w.trained(id)
	})
	training := begin(t, deadlined(t), model, TrainOptions{})
	await(t, "the end", training.request.drained)
	first, count := -1, 0
	for step := range training.Progress() {
		if count++; first < 0 {
			first = step.Step
		}
	}
	if first != 5 || count != mostReports {
		t.Errorf("%d reports came, the first of step %d", count, first)
	}
}

func TestTheIdleTimeoutDoesNotEndATraining(t *testing.T) {
	asked := make(chan struct{})
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		id := w.next("train").ID
		<-asked
		w.trained(id)
	}, WithIdleTimeout(20*time.Millisecond))
	training := begin(t, deadlined(t), model, TrainOptions{})
	result := make(chan error, 1)
	go func() { _, err := training.Result(); result <- err }()
	time.AfterFunc(100*time.Millisecond, func() { close(asked) })
	if err := <-result; err != nil {
		t.Errorf("the training ended with %v", err)
	}
}

func TestEvaluateReturnsItsFigures(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		evaluate := w.next("evaluate")
		if got, want := evaluate.fields(t), []string{"adapter=poet", "cmd=evaluate", "data=/data"}; !slices.Equal(got, want) {
			t.Errorf("the client sent %q, want %q", got, want)
		}
		w.result(evaluate.ID, `"loss":1,"perplexity":2.7,"tokens":9,"rows":2,"truncated_rows":0,"seconds":0.5`)
	})
	result, err := model.Evaluate(deadlined(t), "/data", EvaluateOptions{Adapter: "poet"})
	if err != nil || result.Perplexity != 2.7 {
		t.Errorf("the result is %+v, %v", result, err)
	}
}

func TestAdaptersAreLoadedUnloadedAndListed(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		for _, want := range [][]string{
			{"action=load", "cmd=adapter", "name=poet", "path=/a"},
			{"action=unload", "cmd=adapter", "name=poet"},
			{"action=list", "cmd=adapter"},
		} {
			request := w.next("adapter")
			if got := request.fields(t); !slices.Equal(got, want) {
				t.Errorf("the client sent %q, want %q", got, want)
			}
			w.result(request.ID, `"adapters":[{"name":"poet","path":"/a","format":"peft","method":"dora","rank":8,"scale":2,`+
				`"modules":3,"parameters":96,"bytes":384}]`)
		}
	})
	ctx := deadlined(t)
	loaded, err := model.LoadAdapter(ctx, "poet", "/a")
	left, err2 := model.UnloadAdapter(ctx, "poet")
	listed, err3 := model.Adapters(ctx)
	if err := errors.Join(err, err2, err3); err != nil || len(loaded)+len(left)+len(listed) != 3 || loaded[0].Rank != 8 {
		t.Errorf("the adapters are %+v, %+v, %+v, %v", loaded, left, listed, err)
	}
}

func TestARequestAndAWarmUpNameTheirAdapter(t *testing.T) {
	_, model := startModel(t, windows, func(w *scriptedWorker) {
		for _, command := range []string{"generate", "cache"} {
			request := w.next(command)
			if !slices.Contains(request.fields(t), "adapter=poet") {
				t.Errorf("%s names no adapter: %s", command, request.Raw)
			}
			w.fails(request.ID, "invalid_params")
		}
	})
	_, _ = collect(model.Generate(deadlined(t), "p", WithLoadedAdapter("poet")))
	_, _ = model.Cache().ForAdapter("poet").Warm(deadlined(t), "p")
}
