package mlxwire

import (
	"sync"
	"time"
)

// EventKind is what became of a worker.
type EventKind string

// A worker is started, and ready once its model is loaded. One that crashed is restarted, until
// its policy gives it up.
const (
	EventStarted    EventKind = "started"
	EventReady      EventKind = "ready"
	EventCrashed    EventKind = "crashed"
	EventRestarting EventKind = "restarting"
	EventGaveUp     EventKind = "gave_up"
)

// An Event tells what became of a worker; see WithOnEvent.
type Event struct {
	Kind EventKind
	PID  int           // of the process that this is about
	Err  error         // on crashed and gave_up: an *Error, with the tail of stderr
	Wait time.Duration // on restarting: how long until then
	// Restarts is how many there were within the policy's window, this one included.
	Restarts int
}

// A Heartbeat is the worker's own sign of life, which comes also while it computes, or hangs:
// a long prompt takes steps, a wedge takes none.
type Heartbeat struct {
	Phase           string  `json:"phase"` // idle, load, prefill, decode or classify
	Steps           int     `json:"steps"`
	LastStepSeconds float64 `json:"last_step_seconds"` // the age of the last step
	InFlight        int     `json:"in_flight,omitempty"`
	Queued          int     `json:"queued,omitempty"`
}

const (
	heartbeatEvent = "heartbeat"
	// mostHeartbeats are kept for a listener that is busy; lifecycle events are all kept.
	mostHeartbeats = 16
)

func (c *connection) wantedEvents() []string {
	if c.options.onHeartbeat == nil && c.options.livenessLimits().shortest() == 0 {
		return nil
	}
	return []string{heartbeatEvent}
}

// takeEvent takes what the worker says unasked. An event of a later version is no offence.
func (c *connection) takeEvent(line []byte) {
	message, err := decodeReply[eventMessage](line)
	if err != nil || message.Event != heartbeatEvent {
		return
	}
	beat, err := decodeReply[Heartbeat](message.Data)
	if err != nil {
		return
	}
	c.watchdog.takeBeat(beat)
	if tell := c.options.onHeartbeat; tell != nil {
		c.events.offer(mostHeartbeats, func() { tell(beat) })
	}
}

// A dispatcher calls the host's listeners in order, by a goroutine that lives while there is
// something to tell. A listener may call whatever it wants, Close included.
type dispatcher struct {
	mu    sync.Mutex
	queue []func()
	busy  bool
}

// post tells something for certain.
func (d *dispatcher) post(tell func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue = append(d.queue, tell)
	if !d.busy {
		d.busy = true
		go d.run()
	}
}

// offer tells something unless so much waits already.
func (d *dispatcher) offer(most int, tell func()) {
	d.mu.Lock()
	full := len(d.queue) >= most
	d.mu.Unlock()
	if !full {
		d.post(tell)
	}
}

func (d *dispatcher) run() {
	for {
		d.mu.Lock()
		if len(d.queue) == 0 {
			d.busy = false
			d.mu.Unlock()
			return
		}
		tell := d.queue[0]
		d.queue = d.queue[1:]
		d.mu.Unlock()
		tell()
	}
}
