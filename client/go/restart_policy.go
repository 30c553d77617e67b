package mlxwire

import (
	"math"
	"reflect"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/wire"
)

// A RestartPolicy says how often and how soon a crashed worker is started again.
type RestartPolicy struct {
	// MaxRestarts is how many restarts are allowed within Window. The next crash within it gives
	// the worker up. The window slides; a successful start does not reset it.
	MaxRestarts int
	Window      time.Duration
	// BackoffMin is the wait before the first restart of a window. Each further restart waits
	// twice as long, up to BackoffMax.
	BackoffMin time.Duration
	BackoffMax time.Duration
	// Jitter is the fraction by which each wait is randomly shortened or lengthened, so that many
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
