package mlxwire

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

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
