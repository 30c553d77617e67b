package mlxwire

import (
	"math"
	"reflect"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// A RestartPolicy says how often, and how soon, a worker that crashed is started again.
type RestartPolicy struct {
	// MaxRestarts within Window are allowed; the crash after them is a crash loop, and the
	// worker is given up. The window slides: a good start does not reset it.
	MaxRestarts int
	Window      time.Duration
	// BackoffMin is the wait before the first restart of a window. It doubles with each, up
	// to BackoffMax.
	BackoffMin time.Duration
	BackoffMax time.Duration
	// Jitter spreads the wait by that part of it, up and down, so that many hosts that lost
	// their workers together do not start them together.
	Jitter float64
}

// DefaultRestartPolicy allows 3 restarts in 5 minutes, 0.5 to 30 seconds apart.
func DefaultRestartPolicy() RestartPolicy {
	return RestartPolicy{
		MaxRestarts: 3, Window: 5 * time.Minute,
		BackoffMin: 500 * time.Millisecond, BackoffMax: 30 * time.Second, Jitter: 0.2,
	}
}

// A crashHistory applies a policy. It looks at no clock and throws no dice.
type crashHistory struct {
	policy  RestartPolicy
	crashes []crashNote
}

type crashNote struct {
	at      time.Time
	serving bool
}

// serving is at how many of the window's crashes requests were in flight.
func (h *crashHistory) serving() int {
	count := 0
	for _, crash := range h.crashes {
		if crash.serving {
			count++
		}
	}
	return count
}

// crashed notes a crash, with requests in flight where serving. It returns the wait before the next start and how many restarts the
// window has then; false where that is too many. random is from 0 to 1.
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

// A suspect is a request that was alone in flight when a worker died. The same one at two
// crashes in a row is no chance; among others nothing tells it from those.
type suspect struct {
	command *wire.Command
	fields  any
}

// crashed notes a crash; whether the only request was the only one at the crash before too.
func (s *suspect) crashed(inFlight []*request) bool {
	before := *s
	*s = suspect{}
	if len(inFlight) != 1 {
		return false
	}
	*s = suspect{command: inFlight[0].command, fields: inFlight[0].fields}
	return reflect.DeepEqual(*s, before)
}
