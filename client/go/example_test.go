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
