package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

const forever = 100_000 // tokens; far more than any scenario waits for

var scenarios = map[string]func(*session){
	"generate":   generate,
	"chat":       chat,
	"cancel":     cancel,
	"abort":      abort,
	"deadline":   deadline,
	"together":   together,
	"sleeper":    sleeper,
	"classify":   classify,
	"batch":      batch,
	"info":       info,
	"bad_option": badOption,
	"no_model":   noModel,
	"overlong":   overlong,
	"idle":       func(s *session) { s.start() },
	"fault":      fault,
}

func generate(s *session) {
	if !s.start() {
		return
	}
	s.timed(func() { s.tell(s.generate("one two three", mlxwire.WithMaxTokens(8))) })
	if _, err := s.worker.Metrics(s.ctx); err != nil {
		s.fail(err)
	}
}

func chat(s *session) {
	if !s.start() {
		return
	}
	s.timed(func() {
		stream, err := s.model.ChatStream(s.ctx, mlxwire.UserTurn("hello there"), mlxwire.WithMaxTokens(8))
		s.tell(take(stream, err, nil))
	})
	if _, err := s.worker.Metrics(s.ctx); err != nil {
		s.fail(err)
	}
}

func afterThree(tokens int) bool { return tokens == 3 }

func cancel(s *session) {
	if !s.start() {
		return
	}
	s.timed(func() {
		stream, err := s.model.GenerateStream(s.ctx, "one two", mlxwire.WithMaxTokens(forever), mlxwire.WithIgnoreEOS())
		s.tell(take(stream, err, afterThree))
	})
	s.again("again", 4)
}

func abort(s *session) {
	if !s.start() {
		return
	}
	s.timed(func() {
		ctx, cancel := context.WithCancel(s.ctx)
		defer cancel()
		stream, err := s.model.GenerateStream(ctx, "one two", mlxwire.WithMaxTokens(forever), mlxwire.WithIgnoreEOS())
		s.tell(take(stream, err, func(tokens int) bool {
			if afterThree(tokens) {
				cancel()
			}
			return false
		}))
	})
	s.again("again", 4)
}

func deadline(s *session) {
	if !s.start() {
		return
	}
	s.timed(func() {
		s.tell(s.generate("one two", mlxwire.WithMaxTokens(forever), mlxwire.WithIgnoreEOS(),
			mlxwire.WithDeadline(300*time.Millisecond)))
	})
	s.again("again", 4)
}

func together(s *session) {
	if !s.start() {
		return
	}
	all := make([]*taken, 8)
	s.timed(func() {
		var group sync.WaitGroup
		for i := range all {
			group.Add(1)
			go func() {
				defer group.Done()
				all[i] = s.generate(fmt.Sprintf("prompt %d", i), mlxwire.WithMaxTokens(16))
			}()
		}
		group.Wait()
	})
	for i := len(all) - 1; i >= 0; i-- { // so that the result keeps the figures of the first
		s.tell(all[i])
	}
	for _, one := range all {
		s.result.Texts = append(s.result.Texts, one.text.String())
	}
}

func sleeper(s *session) {
	const mine, others = 20_000, 2_000
	if !s.start() {
		return
	}
	s.timed(func() {
		stream, err := s.model.GenerateStream(s.ctx, "one two", mlxwire.WithMaxTokens(mine), mlxwire.WithIgnoreEOS())
		own := take(stream, err, func(tokens int) bool {
			if tokens == 1 {
				other := s.generate("three four", mlxwire.WithMaxTokens(others), mlxwire.WithIgnoreEOS())
				if other.err != nil {
					s.fail(other.err)
				}
			}
			return false
		})
		s.tell(own)
	})
	equal := s.result.Tokens == mine
	s.result.TextsEqualLength = &equal
}

func classify(s *session) {
	if !s.start() {
		return
	}
	s.timed(func() {
		results, err := s.model.Classify(s.ctx, []string{"a", "b", "c"})
		if err != nil {
			s.fail(err)
		}
		for _, r := range results {
			s.result.Items = append(s.result.Items,
				map[string]any{"index": r.Index, "token_id": r.TokenID})
		}
	})
}

func batch(s *session) {
	if !s.start() {
		return
	}
	s.timed(func() {
		results, err := s.model.BatchGenerate(s.ctx, []string{"a", "b", "c"}, mlxwire.WithMaxTokens(4))
		if err != nil {
			s.fail(err)
		}
		for _, r := range results {
			s.result.Items = append(s.result.Items,
				map[string]any{"index": r.Index, "text": r.Text, "finish_reason": r.FinishReason})
		}
	})
}

func info(s *session) {
	if s.start() {
		info := s.model.Loaded().ModelInfo
		s.result.Info = &info
	}
}

func badOption(s *session) {
	if !s.start() {
		return
	}
	s.timed(func() {
		t := s.generate("one", mlxwire.WithTemperature(-1))
		s.tell(t)
		var own *mlxwire.Error
		if errors.As(t.err, &own) {
			s.result.Field = own.Field()
		}
	})
}

// noModel generates without a model. It loads and unloads one first, because this client's methods
// belong to a Model.
func noModel(s *session) {
	if !s.start() {
		return
	}
	if err := s.model.Close(); err != nil {
		s.fail(err)
		return
	}
	s.timed(func() { s.tell(s.generate("one two three", mlxwire.WithMaxTokens(8))) })
}

func overlong(s *session) {
	if !s.start() {
		return
	}
	prompt := strings.Repeat("x", s.worker.Hello().Limits.MaxLineBytes)
	s.timed(func() { s.tell(s.generate(prompt)) })
	s.again("again", 4)
}

// fault runs against a worker with any fault, and then against a good worker.
func fault(s *session) {
	patience := []mlxwire.StartOption{
		mlxwire.WithStartTimeout(5 * time.Second),
		mlxwire.WithIdleTimeout(3 * time.Second),
		mlxwire.WithShutdownLimits(mlxwire.ShutdownLimits{
			Quit: 300 * time.Millisecond, CloseStdin: 300 * time.Millisecond,
			Terminate: 300 * time.Millisecond, Kill: 500 * time.Millisecond,
		}),
	}
	if s.start(patience...) {
		s.timed(func() { s.tell(s.generate("one two three", mlxwire.WithMaxTokens(8))) })
	}
	s.close()
	if err := os.Setenv(mlxwire.WorkerVariable, os.Getenv("MLXWIRE_FRESH_WORKER")); err != nil {
		s.fail(err)
		return
	}
	fresh := &session{ctx: s.ctx, logger: s.logger}
	if fresh.start(patience...) {
		fresh.again("one two three", 8)
		s.result.Next = fresh.result.Next
	} else {
		s.result.Next = &next{Outcome: "error", Error: fresh.result.Error}
	}
	fresh.close()
}
