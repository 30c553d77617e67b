package mlxwire

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestLivenessJudgesByStepsAndSilence(t *testing.T) {
	limits := DefaultLivenessLimits()
	for _, c := range []struct {
		name  string
		beats func(second int) *Heartbeat
		want  string
	}{
		{"silence", func(int) *Heartbeat { return nil }, "said nothing for 30s"},
		{"a wedge", func(second int) *Heartbeat {
			return &Heartbeat{Phase: "decode", Steps: 5, LastStepSeconds: float64(second)}
		}, "decode it took no step for 2m0s"},
		{"a long prompt", func(second int) *Heartbeat {
			return &Heartbeat{Phase: "prefill", Steps: second / 60, LastStepSeconds: float64(second % 60)}
		}, ""},
		{"a long load", func(second int) *Heartbeat {
			return &Heartbeat{Phase: "load", LastStepSeconds: float64(second)}
		}, ""},
		{"a clock that jumped", func(int) *Heartbeat {
			return &Heartbeat{Phase: "decode", Steps: 5, LastStepSeconds: 1}
		}, ""},
	} {
		start := time.Unix(0, 0)
		l := liveness{limits: limits, interval: time.Second, looked: start}
		verdict := ""
		for second := 0; second < 1000 && verdict == ""; second++ {
			heard := uint64(0)
			if beat := c.beats(second); beat != nil {
				l.takeBeat(*beat)
				heard = uint64(second)
			}
			verdict = l.verdict(heard, start.Add(time.Duration(second)*time.Second))
		}
		if (c.want == "") != (verdict == "") || !strings.Contains(verdict, c.want) {
			t.Errorf("%s: the verdict is %q, want %q", c.name, verdict, c.want)
		}
	}
}

func TestAWorkerIsNotBlamedForTheTimeThatItsHostSlept(t *testing.T) {
	l := liveness{limits: DefaultLivenessLimits(), interval: time.Second, looked: time.Unix(0, 0)}
	if verdict := l.verdict(0, time.Unix(10_000, 0)); verdict != "" {
		t.Errorf("the verdict is %q, want none", verdict)
	}
}

func TestAWorkerThatHangsIsEndedAndItsRequestsFail(t *testing.T) {
	worker, err := Start(deadlined(t), WithLiveness(LivenessLimits{Silence: 50 * time.Millisecond}),
		scripted(t, func(w *scriptedWorker) {
			if hello := w.greet(`{}`, heartbeatEvent); !strings.Contains(string(hello.Raw), heartbeatEvent) {
				t.Errorf("the client did not ask for heartbeats: %s", hello.Raw)
			}
			<-w.exited
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	if _, err := worker.Metrics(deadlined(t)); !errors.Is(err, ErrWorkerCrashed) || !strings.Contains(err.Error(), "said nothing") {
		t.Errorf("the request ended with %v", err)
	}
	await(t, "the worker's end", worker.Done())
}
