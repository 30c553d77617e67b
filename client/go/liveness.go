package mlxwire

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// LivenessLimits says when a worker counts as hanging although its process runs. The client judges
// by heartbeats: during a long prompt the worker takes steps, a worker that hangs takes none, and
// a process that was stopped sends nothing. A field that is left out has the value of
// DefaultLivenessLimits; NoLimit switches a check off.
type LivenessLimits struct {
	Silence time.Duration // the longest time without any output of the worker
	Step    time.Duration // the longest time between two steps of a computation
	// Phases replaces Step for some phases of a Heartbeat. In it 0 means no limit, as NoLimit does.
	Phases map[Phase]time.Duration
}

// DefaultLivenessLimits allows 30 seconds of silence and 120 for a step. A load has no limit for
// its steps, because it may read from a slow disk.
func DefaultLivenessLimits() LivenessLimits {
	return LivenessLimits{
		Silence: 30 * time.Second, Step: 2 * time.Minute,
		Phases: map[Phase]time.Duration{PhaseIdle: 0, PhaseLoad: 0},
	}
}

// complete sets the fields and phases that were left out, and turns NoLimit into 0, which the watchdog
// takes for no limit. It returns an ErrInvalidParams for a negative limit.
func (l *LivenessLimits) complete() error {
	byDefault := DefaultLivenessLimits()
	for phase, limit := range l.Phases {
		if limit < 0 {
			name := fmt.Sprintf("LivenessLimits.Phases[%q]", phase)
			return invalidParams(name, "%s is %v; give a positive duration, or 0 for no limit", name, limit)
		}
		byDefault.Phases[phase] = limit
	}
	l.Phases = byDefault.Phases
	for phase, limit := range l.Phases {
		l.Phases[phase] = limited(limit)
	}
	err := first(
		fillDuration("LivenessLimits.Silence", &l.Silence, byDefault.Silence),
		fillDuration("LivenessLimits.Step", &l.Step, byDefault.Step),
	)
	l.Silence, l.Step = limited(l.Silence), limited(l.Step)
	return err
}

// limited returns 0 for NoLimit.
func limited(limit time.Duration) time.Duration {
	if limit == NoLimit {
		return 0
	}
	return limit
}

// of returns how long a step of a phase may take.
func (l LivenessLimits) of(phase Phase) time.Duration {
	if limit, ok := l.Phases[phase]; ok {
		return limit
	}
	return l.Step
}

// shortest returns the smallest limit above 0, or 0 if every check is off.
func (l LivenessLimits) shortest() time.Duration {
	shortest := l.Silence
	for _, limit := range l.Phases {
		shortest = shorter(shortest, limit)
	}
	return shorter(shortest, l.Step)
}

func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// liveness decides whether a worker hangs, from the times of its messages. It reads no clock. A late
// call of verdict counts for at most two intervals: if the host itself stood still, or the whole
// machine slept, the worker is not to blame.
type liveness struct {
	limits   LivenessLimits
	interval time.Duration // the time between two calls of verdict

	looked time.Time
	heard  uint64
	silent time.Duration
	stuck  time.Duration
	beat   *Heartbeat
}

// takeBeat records a heartbeat.
func (l *liveness) takeBeat(beat Heartbeat) {
	if l.beat == nil || l.beat.Phase != beat.Phase || l.beat.Steps != beat.Steps {
		l.stuck = 0
	}
	l.beat = &beat
}

// verdict returns what is wrong with the worker, or "". heard is a counter that grows with all
// output of the worker.
func (l *liveness) verdict(heard uint64, now time.Time) string {
	passed := min(now.Sub(l.looked), 2*l.interval)
	l.looked = now
	l.silent += passed
	if heard != l.heard {
		l.heard, l.silent = heard, 0
	}
	l.stuck += passed
	if limit := l.limits.Silence; limit > 0 && l.silent >= limit {
		return fmt.Sprintf("has said nothing for %v: it was stopped or hangs", l.silent.Round(time.Second))
	}
	if l.beat == nil {
		return ""
	}
	// Both clocks must agree: the worker's runs on while the host stands still, and the age in a
	// heartbeat belongs to the previous step if the worker has only begun to compute.
	stuck := min(l.stuck, time.Duration(l.beat.LastStepSeconds*float64(time.Second)))
	if limit := l.limits.of(l.beat.Phase); limit > 0 && stuck >= limit {
		return fmt.Sprintf("hangs: in phase %s it took no step for %v", l.beat.Phase, stuck.Round(time.Second))
	}
	return ""
}

// looksWithinLimit is how many times a watchdog looks before its shortest limit has passed.
const looksWithinLimit = 8

// A watchdog ends a worker that hangs. It keeps the time and asks liveness for the verdict.
type watchdog struct {
	heard atomic.Uint64 // counts the chunks of stdout

	mu       sync.Mutex
	liveness liveness
}

// guard watches a connection until it ends. It returns at once if all checks are off or the worker
// sends no heartbeats.
func (d *watchdog) guard(c *connection) {
	limits := c.options.livenessLimits()
	shortest := limits.shortest()
	if shortest == 0 || !slices.Contains(c.hello.Events, heartbeatEvent) {
		return
	}
	interval := max(shortest/looksWithinLimit, time.Millisecond)
	d.mu.Lock()
	d.liveness = liveness{limits: limits, interval: interval, looked: time.Now(), beat: d.liveness.beat}
	d.mu.Unlock()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-c.gone:
			return
		case <-c.ended:
			return
		case now := <-ticker.C:
			if verdict := d.look(now); verdict != "" && c.cause() == nil {
				c.fail(hangs(verdict, c.tail()))
				c.end(nil)
				return
			}
		}
	}
}

func (d *watchdog) look(now time.Time) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.liveness.verdict(d.heard.Load(), now)
}

func (d *watchdog) takeBeat(beat Heartbeat) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.liveness.takeBeat(beat)
}
