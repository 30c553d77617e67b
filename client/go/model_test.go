package mlxwire

import (
	"errors"
	"testing"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

func TestNoCommandThatNeedsAModelIsSentForAClosedModel(t *testing.T) {
	worker, model := startModel(t, windows, func(w *scriptedWorker) {
		w.result(w.next("unload").ID, `"ok":true`) // no other request but quit follows
	})
	if err := model.Close(); err != nil {
		t.Fatal(err)
	}
	ctx := deadlined(t)
	calls := map[*wire.Command]func() error{
		wire.Unload:     func() error { return errors.Join(model.Close(), model.check()) },
		wire.Info:       func() error { _, err := model.Info(ctx); return err },
		wire.Generate:   func() error { _, err := model.GenerateStream(ctx, "p"); return err },
		wire.Chat:       func() error { _, err := model.ChatStream(ctx, UserTurn("p")); return err },
		wire.Batch:      func() error { _, err := model.BatchStream(ctx, []string{"p"}); return err },
		wire.Classify:   func() error { _, err := model.Classify(ctx, []string{"p"}); return err },
		wire.Tokenize:   func() error { _, err := model.Tokenize(ctx, "p"); return err },
		wire.Detokenize: func() error { _, err := model.Detokenize(ctx, []int{1}); return err },
		wire.Inspect:    func() error { _, err := model.Inspect(ctx, "p", "f"); return err },
		wire.Render:     func() error { _, err := model.Render(ctx, UserTurn("p")); return err },
		wire.Embed:      func() error { _, err := model.Embed(ctx, Texts("p")); return err },
		wire.Score:      func() error { _, err := model.Score(ctx, Texts("p")); return err },
		wire.Rerank:     func() error { _, err := model.Rerank(ctx, "p", []string{"d"}); return err },
		wire.Adapter:    func() error { _, err := model.Adapters(ctx); return err },
		wire.Train:      func() error { _, err := model.Train(ctx, "d", "o", TrainOptions{}); return err },
		wire.Evaluate:   func() error { _, err := model.Evaluate(ctx, "d", EvaluateOptions{}); return err },
		wire.Cache:      func() error { _, err := model.Cache().Stats(ctx); return err },
	}
	for _, command := range wire.Commands {
		call, known := calls[command]
		if known != command.NeedsModel {
			t.Errorf("%s needs a model: %v, and this test calls it: %v", command.Name, command.NeedsModel, known)
		} else if known {
			if err := call(); !errors.Is(err, ErrModelNotLoaded) {
				t.Errorf("%s of a closed model gave %v, want model_not_loaded", command.Name, err)
			}
		}
	}
	if err := worker.Close(); err != nil {
		t.Error(err)
	}
}
