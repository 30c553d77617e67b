package mlxwire

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"

	"github.com/mlxwire/mlxwire/client/go/internal/process"
)

// These tests are about every way to stop a request: an iteration ends without an error after a
// complete answer alone, or by the consumer's own break. The conformance kit has the whole table.

// sentReplies is how many replies the worker has sent when a request is cut.
const sentReplies = 3

// A consumed request is one of the three kinds of stream.
type consumed struct {
	id    string
	close func() error
	read  iter.Seq[error]
}

// errorsOf gives the error of each step of an iteration.
func errorsOf[T any](replies iter.Seq2[T, error]) iter.Seq[error] {
	return func(yield func(error) bool) {
		for _, err := range replies {
			if !yield(err) {
				return
			}
		}
	}
}

// consume begins a stream of a command.
func consume(t *testing.T, ctx context.Context, model *Model, command string) consumed {
	t.Helper()
	var stream *Stream
	var err error
	switch command {
	case "batch":
		batch, err := model.BatchStream(ctx, []string{"a", "b", "c", "d"})
		if err != nil {
			t.Fatal(err)
		}
		return consumed{batch.ID(), batch.Close, errorsOf(batch.Results())}
	case "chat":
		stream, err = model.ChatStream(ctx, UserTurn("p"))
	default:
		stream, err = model.GenerateStream(ctx, "p")
	}
	if err != nil {
		t.Fatal(err)
	}
	return consumed{stream.ID(), stream.Close, errorsOf(stream.Tokens())}
}

// answer writes the replies to a request, and with ends its final. Afterwards it answers cancels and
// quit, and cuts the request then.
func (w *scriptedWorker) answer(command string, ends bool, sent chan<- struct{}) {
	id := w.next(command).ID
	for i := range sentReplies {
		if command == "batch" {
			w.batched(id, i)
		} else {
			w.token(id, i)
		}
	}
	if ends {
		w.done(id, "stop")
	}
	close(sent)
	for request := range w.requests {
		if !ends && (request.Cmd == "cancel" || request.Cmd == "quit") {
			w.done(id, "cancelled")
			ends = true
		}
		switch request.Cmd {
		case "cancel":
			w.result(request.ID, `"outcome":"accepted","cancelled":1`)
		case "quit":
			w.result(request.ID, `"ok":true`)
			w.exit(process.ExitState{})
		}
	}
}

func TestEveryWayToStopHasItsOutcome(t *testing.T) {
	type situation struct {
		worker *Worker
		stream consumed
		end    context.CancelFunc
	}
	type outcome struct {
		err   error
		taken int
	}
	whole := outcome{nil, sentReplies}
	for _, cause := range []struct {
		name                    string
		cut                     func(situation) error
		waiting, busy, finished outcome
	}{
		{
			"its own close", func(s situation) error { return s.stream.close() },
			outcome{ErrStreamClosed, 3}, outcome{ErrStreamClosed, 1}, outcome{ErrStreamClosed, 1},
		},
		{
			"the context", func(s situation) error { s.end(); return nil },
			outcome{context.Canceled, 3}, outcome{context.Canceled, 1}, outcome{context.Canceled, 1},
		},
		{
			"CancelRequest", func(s situation) error { _, err := s.worker.CancelRequest(deadlined(t), s.stream.id); return err },
			outcome{ErrCancelled, 3}, outcome{ErrCancelled, 3}, whole,
		},
		{
			"a close of the worker", func(s situation) error { return s.worker.Close() },
			outcome{ErrCancelled, 3}, outcome{ErrCancelled, 3}, whole,
		},
		{
			"a crash", func(s situation) error { script(s.worker).exit(crash); <-s.worker.Done(); return nil },
			outcome{ErrWorkerCrashed, 3}, outcome{ErrWorkerCrashed, 3}, whole,
		},
	} {
		for _, phase := range []struct {
			name string
			ends bool
			cut  int // how many replies the consumer has taken when the request is cut
			want outcome
		}{
			{"consumer waiting", false, sentReplies, cause.waiting},
			{"consumer busy", false, 1, cause.busy},
			{"worker finished", true, 1, cause.finished},
		} {
			for _, command := range []string{"generate", "chat", "batch"} {
				t.Run(fmt.Sprintf("%s, %s, %s", cause.name, phase.name, command), func(t *testing.T) {
					sent := make(chan struct{})
					worker, model := startModel(t, windows, func(w *scriptedWorker) { w.answer(command, phase.ends, sent) })
					ctx, end := context.WithCancel(deadlined(t))
					defer end()
					s := situation{worker, consume(t, ctx, model, command), end}
					await(t, "the replies", sent)
					taken, last := 0, error(nil)
					cut := make(chan error, 1)
					for err := range s.stream.read {
						if last = err; err != nil {
							continue
						}
						taken++
						switch {
						case taken == phase.cut && phase.cut == sentReplies: // while the consumer goes on
							go func() { cut <- cause.cut(s) }()
						case taken == phase.cut:
							cut <- cause.cut(s)
						}
					}
					if err := <-cut; err != nil {
						t.Error(err)
					}
					if taken != phase.want.taken || !errors.Is(last, phase.want.err) {
						t.Errorf("the consumer took %d replies and got %v, want %d and %v", taken, last, phase.want.taken, phase.want.err)
					}
					if own := errors.Is(phase.want.err, context.Canceled); errors.Is(last, context.Canceled) != own {
						t.Errorf("the consumer got %v, which is not its own doing", last)
					}
				})
			}
		}
	}
}

func TestClassifyEndsWithTheErrorOfTheCut(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	for name, c := range map[string]struct {
		cut  func(*Worker) error
		want error
	}{
		"the context":           {func(*Worker) error { end(); return nil }, context.Canceled},
		"CancelRequest":         {func(w *Worker) error { _, err := w.CancelRequest(deadlined(t), ""); return err }, ErrCancelled},
		"a close of the worker": {(*Worker).Close, ErrCancelled},
		"a crash":               {func(w *Worker) error { script(w).exit(crash); return nil }, ErrWorkerCrashed},
	} {
		asked := make(chan string, 1)
		worker, model := startModel(t, windows, func(w *scriptedWorker) {
			id := w.next("classify").ID
			w.classified(id, 0)
			asked <- id
			for request := range w.requests {
				w.done(id, "cancelled")
				w.result(request.ID, `"ok":true,"outcome":"accepted","cancelled":1`)
				if request.Cmd == "quit" {
					w.exit(process.ExitState{})
				}
				return
			}
		})
		ctx := deadlined(t)
		if name == "the context" {
			ctx = ended
		}
		cut := make(chan error, 1)
		go func() { <-asked; cut <- c.cut(worker) }()
		if results, err := model.Classify(ctx, []string{"a", "b"}); results != nil || !errors.Is(err, c.want) {
			t.Errorf("after %s classify returned %+v, %v", name, results, err)
		}
		if err := <-cut; err != nil {
			t.Error(err)
		}
	}
}

func TestAStreamOfAWorkerThatWasClosedBeforeIsRefused(t *testing.T) {
	worker, model := startModel(t, windows, func(*scriptedWorker) {})
	later := model.Generate(deadlined(t), "p")
	if err := worker.Close(); err != nil {
		t.Error(err)
	}
	if _, err := collect(later); !errors.Is(err, ErrShuttingDown) {
		t.Errorf("the stream ended with %v", err)
	}
}

func TestAStreamIsReadOnce(t *testing.T) {
	for _, command := range []string{"generate", "chat", "batch"} {
		for _, end := range []string{"complete", "break", "error", "close"} {
			worker, model := startModel(t, windows, func(w *scriptedWorker) { w.answer(command, end == "complete", make(chan struct{})) })
			stream := consume(t, deadlined(t), model, command)
			first := error(nil)
			for err := range stream.read {
				if first = err; err != nil {
					continue
				}
				switch end {
				case "error":
					script(worker).exit(crash)
				case "close":
					if err := stream.close(); err != nil {
						t.Error(err)
					}
				case "break":
				default:
					continue
				}
				if end == "break" {
					break
				}
			}
			if (end == "complete" || end == "break") != (first == nil) {
				t.Errorf("%s, %s: the first pass ended with %v", command, end, first)
			}
			steps := 0
			for err := range stream.read {
				steps++
				if want := map[bool]error{true: ErrWorkerCrashed, false: ErrStreamClosed}[end == "error"]; !errors.Is(err, want) {
					t.Errorf("%s, %s: the second pass gave %v, want %v", command, end, err, want)
				}
			}
			if steps != 1 {
				t.Errorf("%s, %s: the second pass gave %d steps", command, end, steps)
			}
		}
	}
}
