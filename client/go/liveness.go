package mlxwire

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// LivenessLimits is when a worker counts as dead though its process is there, judged by its
// heartbeats: a long prompt takes steps, a wedge does not, and a process that was stopped says
// nothing at all. A limit of 0 is none.
type LivenessLimits struct {
	Silence time.Duration // nothing came, not even a heartbeat
	Step    time.Duration // it computes, and took no step
	// Phases has other limits than Step for some phases of a Heartbeat.
	Phases map[string]time.Duration
}

// DefaultLivenessLimits are 30 seconds of silence and 120 for a step, but for a load, which may
// read from a slow disk.
func DefaultLivenessLimits() LivenessLimits {
	return LivenessLimits{
		Silence: 30 * time.Second, Step: 2 * time.Minute,
		Phases: map[string]time.Duration{"idle": 0, "load": 0},
	}
}

// of is how long a step of a phase may take.
func (l LivenessLimits) of(phase string) time.Duration {
	if limit, ok := l.Phases[phase]; ok {
		return limit
	}
	return l.Step
}

// shortest is the first limit that can pass; 0 where there is none.
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

// liveness judges from what was heard by when; it looks at no clock. A look that comes late
// counts as little more than one interval: a host that stood still itself, or slept with the
// whole machine, may not blame its worker.
type liveness struct {
	limits   LivenessLimits
	interval time.Duration // how often verdict is asked

	looked time.Time
	heard  uint64
	silent time.Duration
	stuck  time.Duration
	beat   *Heartbeat
}

// takeBeat takes a heartbeat.
func (l *liveness) takeBeat(beat Heartbeat) {
	if l.beat == nil || l.beat.Phase != beat.Phase || l.beat.Steps != beat.Steps {
		l.stuck = 0
	}
	l.beat = &beat
}

// verdict is what is wrong with the worker, or empty. heard changes whenever anything comes.
func (l *liveness) verdict(heard uint64, now time.Time) string {
	passed := min(now.Sub(l.looked), 2*l.interval)
	l.looked = now
	l.silent += passed
	if heard != l.heard {
		l.heard, l.silent = heard, 0
	}
	l.stuck += passed
	if limit := l.limits.Silence; limit > 0 && l.silent >= limit {
		return fmt.Sprintf("has said nothing for %v: it was stopped, or hangs", l.silent.Round(time.Second))
	}
	if l.beat == nil {
		return ""
	}
	// The worker's clock runs on where ours did not; both must agree. And the age that it tells
	// is of the step before, where it has only just begun.
	stuck := min(l.stuck, time.Duration(l.beat.LastStepSeconds*float64(time.Second)))
	if limit := l.limits.of(l.beat.Phase); limit > 0 && stuck >= limit {
		return fmt.Sprintf("hangs: in phase %s it took no step for %v", l.beat.Phase, stuck.Round(time.Second))
	}
	return ""
}

// looksWithinLimit is how often a watchdog looks within its shortest limit.
const looksWithinLimit = 8

// A watchdog ends a worker that lives and makes no progress: liveness judges, it keeps the time.
type watchdog struct {
	heard atomic.Uint64 // chunks of stdout

	mu       sync.Mutex
	liveness liveness
}

// guard looks after a connection until that ends. Without heartbeats there is nothing to judge
// by.
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
