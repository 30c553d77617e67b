package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// untold is the figure of a memory limit that the worker was not asked for.
const untold = 10_000

// shared are the two workers that all cells of options share, by name.
var shared = map[string]*sharedWorker{}

type sharedWorker struct {
	worker *mlxwire.Worker
	model  *mlxwire.Model
}

func sharedNamed(name string) (*sharedWorker, error) {
	if found := shared[name]; found != nil {
		return found, nil
	}
	var options []mlxwire.StartOption
	if name == "mock" {
		words := strings.Fields(os.Getenv("MLXWIRE_FRESH_WORKER"))
		options = append(options, mlxwire.WithCommand(words[0], words[1:]...))
	}
	worker, model, err := begin(options...)
	if err != nil {
		return nil, err
	}
	shared[name] = &sharedWorker{worker, model}
	return shared[name], nil
}

func closeShared() {
	for _, each := range shared {
		_ = each.worker.Close()
	}
}

// A settable is an option, as the caller writes it, and how to give it a value. NaN and infinity are no
// integers and no time.Duration, so an option of these types lacks them.
type settable[T any] struct {
	name string
	set  func(float64) T
	text func(string) T // for an option whose value is a text
	real bool           // float64, which has NaN and infinity
	most float64        // the largest value that the type has; 0 if all numbers of the tables fit
}

func integer[N int | uint64, T any](name string, option func(N) T) settable[T] {
	return settable[T]{name: name, set: func(v float64) T { return option(N(int64(v))) }}
}

func number[T any](name string, option func(float64) T) settable[T] {
	return settable[T]{name: name, set: option, real: true}
}

func duration[T any](name string, option func(time.Duration) T) settable[T] {
	return settable[T]{name: name, set: func(v float64) T { return option(seconds(v)) }, most: math.MaxInt64 / 1e9}
}

func seconds(v float64) time.Duration { return time.Duration(v * float64(time.Second)) }

var requestOptions = map[string]settable[mlxwire.RequestOption]{
	"max_tokens":        integer("WithMaxTokens", mlxwire.WithMaxTokens),
	"min_tokens":        integer("WithMinTokens", mlxwire.WithMinTokens),
	"temperature":       number("WithTemperature", mlxwire.WithTemperature),
	"top_k":             integer("WithTopK", mlxwire.WithTopK),
	"top_p":             number("WithTopP", mlxwire.WithTopP),
	"min_p":             number("WithMinP", mlxwire.WithMinP),
	"repeat_penalty":    number("WithRepeatPenalty", mlxwire.WithRepeatPenalty),
	"presence_penalty":  number("WithPresencePenalty", mlxwire.WithPresencePenalty),
	"frequency_penalty": number("WithFrequencyPenalty", mlxwire.WithFrequencyPenalty),
	"penalty_window":    integer("WithPenaltyWindow", mlxwire.WithPenaltyWindow),
	"adapter":           {name: "WithLoadedAdapter", text: mlxwire.WithLoadedAdapter},
	"dimensions":        integer("WithDimensions", mlxwire.WithDimensions),
	"top_n":             integer("WithTopN", mlxwire.WithTopN),
	"top_logprobs":      integer("WithLogprobs", mlxwire.WithLogprobs),
	"deadline_seconds":  duration("WithDeadline", mlxwire.WithDeadline),
	"seed": {name: "WithSeed", most: math.MaxUint32, set: func(v float64) mlxwire.RequestOption {
		return mlxwire.WithSeed(0) // a seed has no sign
	}},
	"logit_bias": number("WithLogitBias", func(v float64) mlxwire.RequestOption {
		return mlxwire.WithLogitBias(map[int]float64{1: v})
	}),
	"xtc_probability": number("WithXTC", func(v float64) mlxwire.RequestOption { return mlxwire.WithXTC(v, 0.1) }),
	"xtc_threshold":   number("WithXTC", func(v float64) mlxwire.RequestOption { return mlxwire.WithXTC(0.5, v) }),
}

// A trainOption sets a field of a training's options.
type trainOption func(*mlxwire.TrainOptions)

func trainInteger[N int | int64 | uint64](name string, field func(*mlxwire.TrainOptions) **N) settable[trainOption] {
	return integer(name, func(n int) trainOption {
		value := N(n)
		return func(o *mlxwire.TrainOptions) { *field(o) = &value }
	})
}

func trainNumber(name string, field func(*mlxwire.TrainOptions) **float64) settable[trainOption] {
	return number(name, func(v float64) trainOption {
		return func(o *mlxwire.TrainOptions) { *field(o) = &v }
	})
}

var trainOptions = map[string]settable[trainOption]{
	"batch_size":            trainInteger("BatchSize", func(o *mlxwire.TrainOptions) **int { return &o.BatchSize }),
	"max_sequence":          trainInteger("MaxSequence", func(o *mlxwire.TrainOptions) **int { return &o.MaxSequence }),
	"memory_limit":          trainInteger("MemoryLimit", func(o *mlxwire.TrainOptions) **uint64 { return &o.MemoryLimit }),
	"rank":                  trainInteger("Rank", func(o *mlxwire.TrainOptions) **int { return &o.Rank }),
	"layers":                trainInteger("Layers", func(o *mlxwire.TrainOptions) **int { return &o.Layers }),
	"iterations":            trainInteger("Iterations", func(o *mlxwire.TrainOptions) **int { return &o.Iterations }),
	"warmup":                trainInteger("Warmup", func(o *mlxwire.TrainOptions) **int { return &o.Warmup }),
	"evaluate_every":        trainInteger("EvaluateEvery", func(o *mlxwire.TrainOptions) **int { return &o.EvaluateEvery }),
	"save_every":            trainInteger("SaveEvery", func(o *mlxwire.TrainOptions) **int { return &o.SaveEvery }),
	"seed":                  trainInteger("Seed", func(o *mlxwire.TrainOptions) **int64 { return &o.Seed }),
	"gradient_accumulation": trainInteger("GradientAccumulation", func(o *mlxwire.TrainOptions) **int { return &o.GradientAccumulation }),
	"deadline_seconds":      trainNumber("DeadlineSeconds", func(o *mlxwire.TrainOptions) **float64 { return &o.DeadlineSeconds }),
	"scale":                 trainNumber("Scale", func(o *mlxwire.TrainOptions) **float64 { return &o.Scale }),
	"dropout":               trainNumber("Dropout", func(o *mlxwire.TrainOptions) **float64 { return &o.Dropout }),
	"epochs":                trainNumber("Epochs", func(o *mlxwire.TrainOptions) **float64 { return &o.Epochs }),
	"learning_rate":         trainNumber("LearningRate", func(o *mlxwire.TrainOptions) **float64 { return &o.LearningRate }),
	"weight_decay":          trainNumber("WeightDecay", func(o *mlxwire.TrainOptions) **float64 { return &o.WeightDecay }),
	"gradient_clip":         trainNumber("GradientClip", func(o *mlxwire.TrainOptions) **float64 { return &o.GradientClip }),
	"validation": number("Validation", func(v float64) trainOption {
		return func(o *mlxwire.TrainOptions) { o.Validation = v }
	}),
}

var loadOptions = map[string]settable[mlxwire.LoadOption]{
	"context_len":        integer("WithContextLen", mlxwire.WithContextLen),
	"parallel_slots":     integer("WithParallelSlots", mlxwire.WithParallelSlots),
	"kv_bits":            integer("WithKVBits", func(n int) mlxwire.LoadOption { return mlxwire.WithKVBits(n, 64) }),
	"kv_group_size":      integer("WithKVBits", func(n int) mlxwire.LoadOption { return mlxwire.WithKVBits(8, n) }),
	"memory_limit":       integer("WithMemoryLimit", mlxwire.WithMemoryLimit),
	"prompt_cache_limit": integer("WithPromptCacheLimit", mlxwire.WithPromptCacheLimit),
	"prefill_seconds":    duration("WithPrefillSlice", mlxwire.WithPrefillSlice),
}

var startOptions = map[string]settable[mlxwire.StartOption]{
	"worker.start_timeout": duration("WithStartTimeout", mlxwire.WithStartTimeout),
	"worker.idle_timeout":  duration("WithIdleTimeout", mlxwire.WithIdleTimeout),
	"worker.drain_timeout": duration("WithDrainTimeout", mlxwire.WithDrainTimeout),
	"worker.buffer_bytes":  integer("WithBufferBytes", mlxwire.WithBufferBytes),
	"worker.window":        integer("WithWindow", mlxwire.WithWindow),
	"shutdown.quit":        duration("Quit", shutdown(func(l *mlxwire.ShutdownLimits) *time.Duration { return &l.Quit })),
	"shutdown.close_stdin": duration("CloseStdin", shutdown(func(l *mlxwire.ShutdownLimits) *time.Duration { return &l.CloseStdin })),
	"shutdown.terminate":   duration("Terminate", shutdown(func(l *mlxwire.ShutdownLimits) *time.Duration { return &l.Terminate })),
	"shutdown.kill":        duration("Kill", shutdown(func(l *mlxwire.ShutdownLimits) *time.Duration { return &l.Kill })),
	"liveness.silence": duration("Silence", func(d time.Duration) mlxwire.StartOption {
		return mlxwire.WithLiveness(mlxwire.LivenessLimits{Silence: d})
	}),
	"liveness.step": duration("Step", func(d time.Duration) mlxwire.StartOption {
		return mlxwire.WithLiveness(mlxwire.LivenessLimits{Step: d})
	}),
	"liveness.phases": duration("Phases", func(d time.Duration) mlxwire.StartOption {
		limits := mlxwire.DefaultLivenessLimits()
		limits.Phases["decode"] = d
		return mlxwire.WithLiveness(limits)
	}),
	"restart.max_restarts": restart("MaxRestarts", "max_restarts", false),
	"restart.window":       restart("Window", "window", false),
	"restart.backoff_min":  restart("BackoffMin", "backoff_min", false),
	"restart.backoff_max":  restart("BackoffMax", "backoff_max", false),
	"restart.jitter":       restart("Jitter", "jitter", true),
}

func shutdown(of func(*mlxwire.ShutdownLimits) *time.Duration) func(time.Duration) mlxwire.StartOption {
	return func(d time.Duration) mlxwire.StartOption {
		limits := mlxwire.DefaultShutdownLimits()
		*of(&limits) = d
		return mlxwire.WithShutdownLimits(limits)
	}
}

func restart(name, field string, real bool) settable[mlxwire.StartOption] {
	return settable[mlxwire.StartOption]{name: name, real: real, set: func(v float64) mlxwire.StartOption {
		return mlxwire.WithRestart(policyOf(map[string]float64{field: v}))
	}}
}

// policyOf returns a policy with the given fields and no others.
func policyOf(fields map[string]float64) mlxwire.RestartPolicy {
	return mlxwire.RestartPolicy{
		MaxRestarts: int(fields["max_restarts"]), Window: seconds(fields["window"]),
		BackoffMin: seconds(fields["backoff_min"]), BackoffMax: seconds(fields["backoff_max"]),
		Jitter: fields["jitter"],
	}
}

func quick() mlxwire.RestartPolicy {
	policy := mlxwire.DefaultRestartPolicy()
	policy.BackoffMin, policy.BackoffMax = time.Millisecond, time.Millisecond
	return policy
}

// giveOption gives an option a value, and tells what the worker saw, or how it was refused.
func giveOption(c *cell) (answer, error) {
	switch c.Of {
	case "worker", "shutdown", "liveness", "restart":
		return give(c, c.Of+"."+c.Option, startOptions, func(o []mlxwire.StartOption, _ answer) error {
			worker, err := mlxwire.Start(context.Background(), o...)
			if err == nil {
				err = worker.Close()
			}
			return err
		})
	case "load":
		return give(c, c.Option, loadOptions, func(o []mlxwire.LoadOption, seen answer) error {
			s, err := sharedNamed(c.Worker)
			if err != nil {
				return err
			}
			model, err := s.worker.Load(context.Background(), "mock", o...)
			if err != nil {
				return err
			}
			s.model = model
			if c.Worker == "obedient" {
				return json.Unmarshal([]byte(model.Loaded().Path), &seen)
			}
			return nil
		})
	case "fit":
		return give(c, c.Option, loadOptions, func(o []mlxwire.LoadOption, seen answer) error {
			s, err := sharedNamed(c.Worker)
			if err != nil {
				return err
			}
			fit, err := s.worker.Fit(context.Background(), "d", o...)
			if err != nil || c.Worker != "obedient" {
				return err
			}
			return json.Unmarshal([]byte(fit.Path), &seen)
		})
	case "train":
		return give(c, c.Option, trainOptions, func(o []trainOption, seen answer) error {
			s, err := sharedNamed(c.Worker)
			if err != nil {
				return err
			}
			var options mlxwire.TrainOptions
			for _, set := range o {
				set(&options)
			}
			training, err := s.model.Train(context.Background(), "d", "o", options)
			if err != nil {
				return err
			}
			result, err := training.Result()
			if err != nil || c.Worker != "obedient" {
				return err
			}
			return json.Unmarshal([]byte(result.Adapter), &seen)
		})
	case "memory":
		return giveMemory(c)
	case "metrics":
		return answer{"lacks": "a context has the time-out"}, nil
	}
	return give(c, c.Option, requestOptions, func(o []mlxwire.RequestOption, seen answer) error {
		s, err := sharedNamed(c.Worker)
		if err != nil {
			return err
		}
		text, err := ask(s, c, o)
		if err != nil || c.Worker != "obedient" {
			return err
		}
		return json.Unmarshal([]byte(text), &seen)
	})
}

// give calls what takes an option, with the option of the cell or with none.
func give[T any](c *cell, name string, known map[string]settable[T], call func([]T, answer) error) (answer, error) {
	var options []T
	told := answer{"option": c.Option}
	if c.Option != "" {
		option, ok := known[name]
		if !ok {
			return answer{"lacks": "no such option"}, nil
		}
		value, isNumber := c.Value.(float64)
		text, isText := c.Value.(string)
		switch {
		case isText && option.text != nil:
		case !isNumber && !option.real:
			return answer{"lacks": "its type has neither NaN nor infinity"}, nil
		case c.Value == "nan":
			value = math.NaN()
		case c.Value == "inf":
			value = math.Inf(1)
		case option.most > 0 && value > option.most:
			return answer{"lacks": "its type ends below that"}, nil
		case value < 0 && isUnsigned(c.Option):
			return answer{"lacks": "its type has no sign"}, nil
		}
		if option.text != nil {
			options = append(options, option.text(text))
		} else {
			options = append(options, option.set(value))
		}
		told["option"] = option.name
	}
	seen := answer{}
	for key, value := range outcomeOf(call(options, seen)) {
		told[key] = value
	}
	told["sent"] = seen[c.Option]
	if bias, ok := seen[c.Option].(map[string]any); ok {
		told["sent"] = bias["1"]
	}
	told["fields"] = fieldsOf(seen)
	return told, nil
}

func isUnsigned(option string) bool {
	return slices.Contains([]string{"seed", "memory_limit", "prompt_cache_limit"}, option)
}

// fieldsOf returns the names that a request has beside its envelope and its prompt.
func fieldsOf(seen answer) []string {
	envelope := []string{
		"id", "cmd", "window", "prompt", "prompts", "messages", "texts", "query", "documents", "path", "paths",
		"encoding_format", "data", "out",
	}
	fields := []string{}
	for name := range seen {
		if !slices.Contains(envelope, name) {
			fields = append(fields, name)
		}
	}
	slices.Sort(fields)
	return fields
}

// ask sends a request and returns the words of its first reply.
func ask(s *sharedWorker, c *cell, options []mlxwire.RequestOption) (string, error) {
	ctx, model := context.Background(), s.model
	switch c.Of {
	case "classify":
		results, err := model.Classify(ctx, c.Prompts, options...)
		return first(results, err, func(r mlxwire.ClassifyResult) string { return r.Text })
	case "batch":
		results, err := model.BatchGenerate(ctx, c.Prompts, options...)
		return first(results, err, func(r mlxwire.BatchResult) string { return r.Text })
	case "embed":
		results, err := model.Embed(ctx, mlxwire.Texts(c.Prompts...), options...)
		return first(results, err, func(e mlxwire.Embedding) string { return spelled(e.Vector) })
	case "score":
		results, err := model.Score(ctx, mlxwire.Texts(c.Prompts...), options...)
		return first(results, err, func(r mlxwire.ScoreResult) string { return r.Pieces[0] })
	case "rerank":
		ranked, err := model.Rerank(ctx, "q", []string{"d"}, options...)
		scores := make([]float64, len(ranked))
		for i := range ranked {
			scores[i] = ranked[i].RelevanceScore
		}
		return spelled(scores), err
	case "render":
		rendered, err := model.Render(ctx, mlxwire.UserTurn("p"), options...)
		return rendered.Prompt, err
	case "discover":
		found, err := s.worker.Discover(ctx, []string{"d"}, options...)
		return first(found, err, func(m mlxwire.FoundModel) string { return m.Path })
	}
	stream, err := openTokens(ctx, model, c, options...)
	if err != nil {
		return "", err
	}
	return stream.Text()
}

func first[T any](results []T, err error, words func(T) string) (string, error) {
	if err != nil {
		return "", err
	}
	return words(results[0]), nil
}

// spelled returns the text whose characters are given as numbers.
func spelled[N float32 | float64](numbers []N) string {
	letters := make([]rune, len(numbers))
	for i, number := range numbers {
		letters[i] = rune(number)
	}
	return string(letters)
}

// giveMemory sets a limit, or none. Their type, *uint64, has neither sign nor NaN.
func giveMemory(c *cell) (answer, error) {
	var limits mlxwire.MemoryLimits
	var name any
	if c.Option != "" {
		value, isNumber := c.Value.(float64)
		if !isNumber || value < 0 {
			return answer{"lacks": "its type has neither sign nor NaN"}, nil
		}
		limit := uint64(value)
		switch c.Option {
		case "memory_limit":
			name, limits.Memory = "Memory", &limit
		case "prompt_cache_limit":
			name, limits.PromptCache = "PromptCache", &limit
		case "buffer_limit":
			name, limits.Buffer = "Buffer", &limit
		case "wired_limit":
			name, limits.Wired = "Wired", &limit
		}
	}
	s, err := sharedNamed(c.Worker)
	if err != nil {
		return nil, err
	}
	memory, err := s.worker.SetMemory(context.Background(), limits)
	told := outcomeOf(err)
	told["option"] = name
	seen := answer{}
	for name, figure := range map[string]uint64{
		"memory_limit": memory.MemoryLimit, "prompt_cache_limit": memory.PromptCacheLimit,
		"buffer_limit": memory.BufferLimit, "wired_limit": memory.WiredLimit,
	} {
		if figure != untold {
			seen[name] = figure
		}
	}
	told["sent"], told["fields"] = seen[c.Option], fieldsOf(seen)
	return told, nil
}

// never waits with a time-out of 0 for a request that only a cancel ends.
func never(c *cell) (answer, error) {
	if c.Of != "worker" {
		return answer{"lacks": "WithIdleTimeout is an option of Start"}, nil
	}
	worker, model, err := begin(mlxwire.WithIdleTimeout(0))
	if err != nil {
		return nil, err
	}
	defer worker.Close()
	ended := make(chan error, 1)
	stream, err := model.GenerateStream(context.Background(), c.Prompt)
	if err != nil {
		return nil, err
	}
	go func() { _, err := stream.Text(); ended <- err }()
	for range 20 {
		received(worker)
	}
	_, _ = worker.CancelRequest(context.Background(), "")
	return outcomeOf(<-ended), nil
}

// crashUnderPolicy crashes a worker some times, and tells what its policy made of each crash.
func crashUnderPolicy(c *cell) (answer, error) {
	events := make(chan mlxwire.Event, 64)
	worker, model, err := begin(mlxwire.WithRestart(policyOf(c.Policy)),
		mlxwire.WithOnEvent(func(event mlxwire.Event) { events <- event }))
	if err != nil {
		return nil, err
	}
	defer worker.Close()
	var changes []mlxwire.EventKind
	var first any
	for crash := range c.Crashes {
		// Another request each time: the same one alone at two crashes is a suspect.
		prompt := strings.Replace(c.Prompt, "{", fmt.Sprintf(`{"crash": %d, `, crash), 1)
		if stream, err := model.GenerateStream(context.Background(), prompt); err == nil {
			_, _ = stream.Text()
		}
		event := <-events
		for event.Kind != mlxwire.EventRestarting && event.Kind != mlxwire.EventGaveUp {
			event = <-events
		}
		if crash == 0 {
			first = event.Wait.Seconds()
		}
		changes = append(changes, event.Kind)
	}
	return answer{"changes": changes, "first_pause": first}, nil
}
