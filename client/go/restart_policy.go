package mlxwire

import (
	"cmp"
	"math"
	"reflect"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// A RestartPolicy says how often and how soon a crashed worker is started again. A field that is left
// out has the value of DefaultRestartPolicy; Start refuses negative values and NaN. For no wait at all,
// give a BackoffMax of a nanosecond.
type RestartPolicy struct {
	// MaxRestarts is how many restarts are allowed within Window. The next crash within it gives
	// the worker up. The window slides; a successful start does not reset it.
	MaxRestarts int
	Window      time.Duration
	// BackoffMin is the wait before the first restart of a window. Each further restart waits
	// twice as long, up to BackoffMax.
	BackoffMin time.Duration
	BackoffMax time.Duration
	// Jitter is the fraction, at most 1, by which each wait is randomly shortened or lengthened. So many
	// hosts that lost their workers at the same time do not restart them at the same time.
	Jitter float64
}

// DefaultRestartPolicy allows 3 restarts in 5 minutes, 0.5 to 30 seconds apart.
func DefaultRestartPolicy() RestartPolicy {
	return RestartPolicy{
		MaxRestarts: 3, Window: 5 * time.Minute,
		BackoffMin: 500 * time.Millisecond, BackoffMax: 30 * time.Second, Jitter: 0.2,
	}
}

// complete sets the fields that were left out. It returns an ErrInvalidParams for a value that Start
// does not accept.
func (p *RestartPolicy) complete() error {
	byDefault := DefaultRestartPolicy()
	if p.MaxRestarts < 0 {
		return invalidParams("RestartPolicy.MaxRestarts",
			"RestartPolicy.MaxRestarts is %d; give a positive number, or leave WithRestart out for no restart", p.MaxRestarts)
	}
	if p.Jitter < 0 || p.Jitter > 1 || math.IsNaN(p.Jitter) {
		return invalidParams("RestartPolicy.Jitter", "RestartPolicy.Jitter is %v; give a number from 0 to 1", p.Jitter)
	}
	p.MaxRestarts = cmp.Or(p.MaxRestarts, byDefault.MaxRestarts)
	p.Jitter = cmp.Or(p.Jitter, byDefault.Jitter)
	// A default gives way to the other bound.
	least, most := byDefault.BackoffMin, max(byDefault.BackoffMax, p.BackoffMin)
	if p.BackoffMax > 0 {
		least = min(least, p.BackoffMax)
	}
	if err := first(
		fillDuration("RestartPolicy.Window", &p.Window, byDefault.Window),
		fillDuration("RestartPolicy.BackoffMin", &p.BackoffMin, least),
		fillDuration("RestartPolicy.BackoffMax", &p.BackoffMax, most),
	); err != nil {
		return err
	}
	if p.BackoffMin > p.BackoffMax {
		return invalidParams("RestartPolicy.BackoffMin",
			"RestartPolicy.BackoffMin is %v, which is longer than BackoffMax (%v); shorten it", p.BackoffMin, p.BackoffMax)
	}
	return nil
}

// A crashHistory applies a policy to the crashes so far. It reads no clock and makes no random
// numbers; its callers pass both.
type crashHistory struct {
	policy  RestartPolicy
	crashes []crashNote
}

type crashNote struct {
	at      time.Time
	serving bool
}

// serving counts the crashes within the policy's Window at which requests were in flight.
func (h *crashHistory) serving() int {
	count := 0
	for _, crash := range h.crashes {
		if crash.serving {
			count++
		}
	}
	return count
}

// crashed records a crash; serving says whether requests were in flight. It returns the wait
// before the next start and the number of restarts in the window, or false if the policy allows
// no further start. random is between 0 and 1.
func (h *crashHistory) crashed(now time.Time, random float64, serving bool) (wait time.Duration, restarts int, ok bool) {
	recent := h.crashes[:0]
	for _, crash := range h.crashes {
		if now.Sub(crash.at) < h.policy.Window {
			recent = append(recent, crash)
		}
	}
	h.crashes = append(recent, crashNote{at: now, serving: serving})
	restarts = len(h.crashes)
	if restarts > h.policy.MaxRestarts {
		return 0, restarts, false
	}
	seconds := h.policy.BackoffMin.Seconds() * math.Pow(2, float64(restarts-1))
	seconds = min(seconds, h.policy.BackoffMax.Seconds())
	seconds *= 1 + h.policy.Jitter*(2*random-1)
	return time.Duration(seconds * float64(time.Second)), restarts, true
}

// A suspect is a request that was alone in flight when a worker died. If the same request is alone
// at two crashes in a row, it most likely causes them.
type suspect struct {
	command *wire.Command
	fields  any
}

// crashed records the requests in flight at a crash. It returns true if there was one request, and
// the same one was alone at the crash before.
func (s *suspect) crashed(inFlight []*request) bool {
	before := *s
	*s = suspect{}
	if len(inFlight) != 1 {
		return false
	}
	*s = suspect{command: inFlight[0].command, fields: inFlight[0].fields}
	return reflect.DeepEqual(*s, before)
}
