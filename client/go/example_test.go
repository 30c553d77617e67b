package mlxwire_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

func Example() {
	ctx := context.Background()
	w, err := mlxwire.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	m, err := w.Load(ctx, "testdata/tiny", mlxwire.WithContextLen(512))
	if err != nil {
		log.Print(err)
		return
	}
	for token, err := range m.Chat(ctx, mlxwire.UserTurn("What is 2 + 3?"), mlxwire.WithMaxTokens(32)) {
		if err != nil {
			log.Print(err)
			return
		}
		fmt.Print(token.Text)
	}
}

func ExampleModel_GenerateStream() {
	stream := func(ctx context.Context, m *mlxwire.Model) error {
		stream, err := m.GenerateStream(ctx, "Once upon a time", mlxwire.WithTemperature(0.8), mlxwire.WithSeed(1))
		if err != nil {
			return err
		}
		defer stream.Close()
		for token, err := range stream.Tokens() {
			if err != nil {
				return err
			}
			fmt.Print(token.Text)
		}
		if done, ok := stream.Done(); ok {
			fmt.Println(done.FinishReason, done.Metrics.DecodeTokensPerSecond)
		}
		return nil
	}
	_ = stream
}

func ExampleError() {
	explain := func(err error) {
		var failure *mlxwire.Error
		switch {
		case errors.Is(err, mlxwire.ErrContextOverflow):
			fmt.Println("the prompt is too long")
		case errors.As(err, &failure) && failure.Retryable:
			fmt.Println("again later, after", failure.TokensDelivered, "tokens")
		}
	}
	explain(&mlxwire.Error{Code: mlxwire.ErrContextOverflow})
	explain(&mlxwire.Error{Code: mlxwire.ErrWorkerCrashed, Retryable: true, TokensDelivered: 7})
	// Output:
	// the prompt is too long
	// again later, after 7 tokens
}

func ExampleWithRestart() {
	w, err := mlxwire.Start(context.Background(),
		mlxwire.WithRestart(mlxwire.DefaultRestartPolicy()),
		mlxwire.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
		mlxwire.WithOnEvent(func(e mlxwire.Event) {
			if e.Kind == mlxwire.EventGaveUp {
				log.Print("no model any more: ", e.Err)
			}
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
}

func ExampleRunTools() {
	type place struct {
		City string `json:"city" jsonschema:"the city's name"`
	}
	weather := func(_ context.Context, p place) (string, error) {
		return "21 degrees in " + p.City, nil
	}
	ask := func(ctx context.Context, m *mlxwire.Model) error {
		tool := mlxwire.NewToolFunc("weather", "Tell the weather of a city.", weather)
		question := mlxwire.UserTurn("How warm is it in Oslo?")
		answer, err := mlxwire.RunTools(ctx, m, question, []mlxwire.ToolFunc{tool})
		fmt.Println(answer.Text)
		return err
	}
	_ = ask
}

func ExampleStream_ToolCalls() {
	type place struct {
		City string `json:"city" jsonschema:"the city's name"`
	}
	weather := func(_ context.Context, p place) (string, error) {
		return "21 degrees in " + p.City, nil
	}
	tool := mlxwire.NewToolFunc("weather", "Tell the weather of a city.", weather)
	ask := func(ctx context.Context, m *mlxwire.Model, messages []mlxwire.Message) ([]mlxwire.Message, error) {
		stream, err := m.ChatStream(ctx, messages, mlxwire.WithTools(tool.Tool))
		if err != nil {
			return nil, err
		}
		turn, err := stream.Message() // the answer with its calls and thoughts
		if err != nil {
			return nil, err
		}
		messages = append(messages, turn)
		calls, err := stream.ToolCalls()
		if err != nil {
			return nil, err
		}
		for _, call := range calls {
			content := "21 degrees"
			if _, err := mlxwire.ArgumentsOf[place](call); err != nil {
				content = err.Error()
			}
			messages = append(messages, mlxwire.Message{Role: "tool", ToolCallID: call.ID, Content: content})
		}
		return messages, nil
	}
	_ = ask
}

func ExampleModel_Embed() {
	read := func(ctx context.Context, m *mlxwire.Model, reviews, documents []string) error {
		embeddings, err := m.Embed(ctx, mlxwire.Texts("How warm is it?", "Tell me a story."), mlxwire.WithPooling("mean"))
		if err != nil {
			return err
		}
		for _, embedding := range embeddings {
			fmt.Println(embedding.Index, len(embedding.Vector), embedding.Err)
		}
		stream, err := m.ClassifyStream(ctx, reviews, mlxwire.WithLabels("good", "bad"), mlxwire.WithSeparator("\n"))
		if err != nil {
			return err
		}
		for result, err := range stream.Results() {
			if err != nil {
				return err
			}
			fmt.Println(result.Index, result.Label(), result.Err)
		}
		ranked, err := m.Rerank(ctx, "How warm is it?", documents, mlxwire.WithTopN(3))
		for _, best := range ranked {
			fmt.Println(best.RelevanceScore, best.Document)
		}
		return err
	}
	_ = read
}

func ExampleWorker_Discover() {
	find := func(ctx context.Context, w *mlxwire.Worker) error {
		models, err := w.Discover(ctx, []string{"testdata"})
		if err != nil {
			return err
		}
		for _, model := range models {
			fmt.Println(model.Path, model.Parameters, model.Err)
		}
		fit, err := w.Fit(ctx, "testdata/tiny", mlxwire.WithContextLen(512))
		fmt.Println(fit.TotalBytes, fit.AvailableBytes, fit.Fits)
		return err
	}
	_ = find
}

func ExampleModel_Train() {
	teach := func(ctx context.Context, m *mlxwire.Model) error {
		steps, rate := 20, 1e-3
		options := mlxwire.TrainOptions{Iterations: &steps, LearningRate: &rate, LoadAs: "facts"}
		training, err := m.Train(ctx, "facts.jsonl", "adapter", options)
		if err != nil {
			return err
		}
		for step, err := range training.Progress() {
			if err != nil {
				return err // training.Checkpoint() is the folder to resume from
			}
			fmt.Println(step.Step, step.Loss)
		}
		for token, err := range m.Chat(ctx, mlxwire.UserTurn("Where is Lutz?"), mlxwire.WithLoadedAdapter("facts")) {
			if err != nil {
				return err
			}
			fmt.Print(token.Text)
		}
		return nil
	}
	_ = teach
}
