package mlxwire

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

const (
	// mostReports is how many reports wait for a consumer. The oldest are dropped, since each counts from
	// the start of the training.
	mostReports = 10_000
	// savingTime is how long a cancelled training may take to end its step and save a checkpoint before
	// the client warns.
	savingTime = 2 * time.Minute
)

// DataOptions say how Train and Evaluate read their data. A nil number, and a text that is empty, mean
// the worker's default (docs/training.md); a number 0 is sent.
type DataOptions struct {
	BatchSize       *int     `json:"batch_size,omitempty" option:"BatchSize"`     // rows of one forward pass
	MaskPrompt      bool     `json:"mask_prompt,omitempty" option:"MaskPrompt"`   // count the loss of answers alone
	MaxSequence     *int     `json:"max_sequence,omitempty" option:"MaxSequence"` // tokens at which a row is cut off
	MemoryLimit     *uint64  `json:"memory_limit,omitempty" option:"MemoryLimit"` // bytes that the process may take
	DeadlineSeconds *float64 `json:"deadline_seconds,omitempty" option:"DeadlineSeconds"`
}

// EvaluateOptions are the options of Evaluate. Adapter is the name of a loaded adapter, "" for none.
type EvaluateOptions struct {
	DataOptions
	Adapter string `json:"adapter,omitempty" option:"Adapter"`
}

// TrainOptions are the options of Train. A nil number, and a text that is empty, mean the worker's
// default; a number 0 is sent.
type TrainOptions struct {
	DataOptions
	Method                string   `json:"method,omitempty" option:"Method"` // "lora", the default, "dora" or "full"
	Rank                  *int     `json:"rank,omitempty" option:"Rank"`
	Scale                 *float64 `json:"scale,omitempty" option:"Scale"`
	Dropout               *float64 `json:"dropout,omitempty" option:"Dropout"`
	Layers                *int     `json:"layers,omitempty" option:"Layers"`         // how many of the last layers; nil is all
	Keys                  []string `json:"keys,omitempty" option:"Keys"`             // modules within a layer; nil is all linear ones
	Iterations            *int     `json:"iterations,omitempty" option:"Iterations"` // steps of the optimizer
	Epochs                *float64 `json:"epochs,omitempty" option:"Epochs"`         // passes over the data, in the place of Iterations
	LearningRate          *float64 `json:"learning_rate,omitempty" option:"LearningRate"`
	Schedule              string   `json:"schedule,omitempty" option:"Schedule"` // "constant", "linear" or "cosine"
	Warmup                *int     `json:"warmup,omitempty" option:"Warmup"`     // in steps
	Optimizer             string   `json:"optimizer,omitempty" option:"Optimizer"`
	WeightDecay           *float64 `json:"weight_decay,omitempty" option:"WeightDecay"`
	GradientAccumulation  *int     `json:"gradient_accumulation,omitempty" option:"GradientAccumulation"`
	GradientCheckpointing bool     `json:"gradient_checkpointing,omitempty" option:"GradientCheckpointing"`
	GradientClip          *float64 `json:"gradient_clip,omitempty" option:"GradientClip"`
	Dtype                 string   `json:"dtype,omitempty" option:"Dtype"`   // of the adapter: "float32" or "bfloat16"
	Format                string   `json:"format,omitempty" option:"Format"` // of the result: "mlx" or "peft"
	// Validation is a path, or the share of the data between 0 and 1 that is held back.
	Validation    any    `json:"validation,omitempty" option:"Validation"`
	EvaluateEvery *int   `json:"evaluate_every,omitempty" option:"EvaluateEvery"` // in steps, 0 for never
	SaveEvery     *int   `json:"save_every,omitempty" option:"SaveEvery"`         // in steps, 0 for never
	Seed          *int64 `json:"seed,omitempty" option:"Seed"`
	Resume        bool   `json:"resume,omitempty" option:"Resume"`  // go on from the last checkpoint in the folder
	LoadAs        string `json:"load_as,omitempty" option:"LoadAs"` // load the result under this name
	// OnProgress is called with the progress of every stage: StageCheck, StageLoad and StageTrain. The
	// goroutine that waits for the training calls it; while that does something else, only the last is kept.
	OnProgress func(Progress) `json:"-"`
}

// TrainProgress is one report of a training. Loss is the mean of the steps since the last report.
// ValidationLoss is nil where none was computed. Tokens and Seconds count from the start.
type TrainProgress struct {
	Progress
	Step            int      `json:"step"`
	Loss            float64  `json:"loss"`
	ValidationLoss  *float64 `json:"validation_loss"`
	LearningRate    float64  `json:"learning_rate"`
	Tokens          int      `json:"tokens"`
	Seconds         float64  `json:"seconds"`
	TokensPerSecond float64  `json:"tokens_per_second"`
	PeakMemoryBytes uint64   `json:"peak_memory_bytes"`
	SecondsLeft     float64  `json:"seconds_left"`
}

// TrainResult is the end of a training. Losses are means over target tokens, in nats.
type TrainResult struct {
	Adapter         string   `json:"adapter"` // the folder of the result
	Method          string   `json:"method"`
	Format          string   `json:"format"`
	FirstLoss       float64  `json:"first_loss"`
	LastLoss        float64  `json:"last_loss"`
	ValidationLoss  *float64 `json:"validation_loss"`
	Steps           int      `json:"steps"`
	Tokens          int      `json:"tokens"`
	Rows            int      `json:"rows"`
	TruncatedRows   int      `json:"truncated_rows"`
	Seconds         float64  `json:"seconds"`
	PeakMemoryBytes uint64   `json:"peak_memory_bytes"`
	LoadedAs        *string  `json:"loaded_as"` // the name of LoadAs, or nil
}

// EvaluateResult is the mean loss over target tokens, in nats, and its exponential.
type EvaluateResult struct {
	Loss          float64 `json:"loss"`
	Perplexity    float64 `json:"perplexity"`
	Tokens        int     `json:"tokens"`
	Rows          int     `json:"rows"`
	TruncatedRows int     `json:"truncated_rows"`
	Seconds       float64 `json:"seconds"`
}

// A Training is a training that runs in a process of its own, while the worker answers other requests.
// It runs whether its progress is read or not; the end of its context cancels it, and it saves a
// checkpoint first.
type Training struct {
	request *request
	ctx     context.Context
	unwatch func() bool
	reports []TrainProgress // guarded by the request's lock
}

// Train trains an adapter of the model, or all its weights, on a file or folder of JSONL, and writes the
// result to the folder out. It sends the request and returns. WithIdleTimeout does not hold for it.
func (m *Model) Train(ctx context.Context, data, out string, options TrainOptions) (*Training, error) {
	c, err := m.ready(ctx)
	if err != nil {
		return nil, err
	}
	t := &Training{ctx: ctx}
	t.request = newRequest(c, wire.Train, requestHooks{
		report: t.take, progress: options.OnProgress, left: func() { t.reports = nil },
	})
	if err := c.send(t.request, trainFields{Data: data, Out: out, TrainOptions: options}); err != nil {
		return nil, err
	}
	t.unwatch = context.AfterFunc(ctx, func() { t.request.leave(ctx.Err()) })
	return t, nil
}

// Evaluate returns the loss and the perplexity of data, in a process of its own, as Train reads it.
func (m *Model) Evaluate(ctx context.Context, data string, options EvaluateOptions) (EvaluateResult, error) {
	return askModel[EvaluateResult](ctx, m, wire.Evaluate, evaluateFields{Data: data, EvaluateOptions: options})
}

// ID returns the request's id, for Worker.CancelRequest.
func (t *Training) ID() string { return t.request.id }

// Progress gives the reports of the steps. An error comes last, without a report; after the last one
// without an error, Result has the result. Leaving the range cancels the training, as Cancel does, and
// does not wait. One goroutine may read it.
func (t *Training) Progress() iter.Seq2[TrainProgress, error] {
	return func(yield func(TrainProgress, error) bool) {
		for {
			report, ok, err := t.next()
			if err != nil {
				yield(TrainProgress{}, err)
				return
			}
			if !ok {
				return
			}
			if !yield(report, nil) {
				t.request.leave(closedStream())
				return
			}
		}
	}
}

// Result waits for the end and returns the result. It drops reports that were not read, and may be called
// again. If the training was cancelled, the error is an ErrCancelled, or the context's. Checkpoint has the
// folder to resume from.
func (t *Training) Result() (TrainResult, error) {
	for {
		_, more, err := t.next()
		if err != nil {
			return TrainResult{}, err
		}
		if !more {
			break
		}
	}
	result, err := decodeReply[TrainResult](t.final())
	if err != nil {
		return TrainResult{}, t.request.conn.violated(err)
	}
	return result, nil
}

// Cancel cancels the training, waits until it has ended its step and saved a checkpoint, and returns the
// checkpoint's folder: "" if the training had not begun, or had ended before. Any goroutine may call it.
// The error says why the training ended, if that was not a cancel.
func (t *Training) Cancel() (checkpoint string, err error) {
	t.request.conn.tell(wire.Cancel, cancelFields{Target: &t.request.id})
	<-t.request.drained
	t.unwatch()
	t.request.mu.Lock()
	err = t.request.err
	t.request.mu.Unlock()
	if errors.Is(err, ErrCancelled) || err == t.ctx.Err() {
		err = nil
	}
	return t.Checkpoint(), err
}

// leftover holds what a final reply of a training tells about its checkpoint.
type leftover struct {
	Checkpoint *string `json:"checkpoint,omitempty"`
	Error      struct {
		Data map[string]any `json:"data,omitempty"`
	} `json:"error,omitempty"`
}

// Checkpoint returns the folder of the checkpoint that a training has left which was cancelled or failed,
// or "".
func (t *Training) Checkpoint() string {
	left, _ := decodeReply[leftover](t.final())
	if left.Checkpoint != nil {
		return *left.Checkpoint
	}
	checkpoint, _ := left.Error.Data["checkpoint"].(string)
	return checkpoint
}

// take is called with the request's lock held.
func (t *Training) take(line []byte) error {
	report, err := decodeReply[TrainProgress](line)
	if err != nil {
		return err
	}
	if len(t.reports) == mostReports {
		t.reports = t.reports[1:]
	}
	t.reports = append(t.reports, report)
	return nil
}

// next waits for the next report. It returns false at the end, with the error that ended the training.
func (t *Training) next() (report TrainProgress, more bool, err error) {
	q := t.request
	for {
		if err := t.ctx.Err(); err != nil {
			q.leave(err) // AfterFunc may run a moment later
		}
		q.mu.Lock()
		if len(t.reports) > 0 {
			report, t.reports = t.reports[0], t.reports[1:]
			q.mu.Unlock()
			return report, true, nil
		}
		ended, err, kind := q.phase == over, q.err, q.kind
		q.mu.Unlock()
		q.tellProgress()
		switch {
		case err != nil:
			return report, false, err
		case ended && kind == q.command.Final:
			t.unwatch()
			return report, false, nil
		case ended:
			t.unwatch()
			return report, false, t.cancelled()
		}
		if err := q.wait(t.ctx); err != nil {
			return report, false, err
		}
	}
}

func (t *Training) final() []byte {
	t.request.mu.Lock()
	defer t.request.mu.Unlock()
	return t.request.final
}

// cancelled returns the error of a training that ended as cancelled.
func (t *Training) cancelled() error {
	if t.request.conn.isClosing() {
		return cutByClose()
	}
	saved := t.Checkpoint()
	if saved == "" {
		return newError(ErrCancelled, "the training was cancelled before its first checkpoint; train again")
	}
	e := newError(ErrCancelled, "the training was cancelled, and its state is in %s; train again with the same options and "+
		"Resume to go on from there", saved)
	e.Data = map[string]any{"checkpoint": saved}
	return e
}
