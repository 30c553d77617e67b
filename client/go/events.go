package mlxwire

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// EventKind names a change in a worker's life.
type EventKind string

// Each process that starts is EventStarted, then EventReady when its model is loaded. A process
// that dies is EventCrashed, followed by EventRestarting or, if the restart policy allows no
// further start, by EventGaveUp.
const (
	EventStarted    EventKind = "started"
	EventReady      EventKind = "ready"
	EventCrashed    EventKind = "crashed"
	EventRestarting EventKind = "restarting"
	EventGaveUp     EventKind = "gave_up"
)

// An Event reports a change in a worker's life; see WithOnEvent.
type Event struct {
	Kind EventKind
	PID  int           // the process that the event is about
	Err  error         // on crashed and gave_up: an *Error with the tail of stderr
	Wait time.Duration // on restarting: the time until the next start
	// Restarts counts the restarts within the policy's window, including this one.
	Restarts int
}

// Phase names what a worker's engine does.
type Phase string

// Later workers may have further phases.
const (
	PhaseIdle     Phase = "idle"
	PhaseLoad     Phase = "load"
	PhasePrefill  Phase = "prefill"
	PhaseDecode   Phase = "decode"
	PhaseClassify Phase = "classify"
)

// A Heartbeat is a regular message that the worker sends even while it computes. During a long
// prompt Steps grows; in a worker that hangs it does not.
type Heartbeat struct {
	Phase           Phase   `json:"phase"`
	Steps           int     `json:"steps"`
	LastStepSeconds float64 `json:"last_step_seconds"` // time since the last step ended
	InFlight        int     `json:"in_flight,omitempty"`
	Queued          int     `json:"queued,omitempty"`
}

const (
	heartbeatEvent = "heartbeat"
	// mostHeartbeats bounds the queue of a busy listener. Events of a worker's life are never dropped.
	mostHeartbeats = 16
)

func (c *connection) wantedEvents() []string {
	if c.options.onHeartbeat == nil && c.options.livenessLimits().shortest() == 0 {
		return nil
	}
	return []string{heartbeatEvent}
}

// takeEvent handles an event message. It ignores events that it does not know, because a later
// version of the worker may send more.
func (c *connection) takeEvent(line []byte) error {
	message, err := decodeReply[eventMessage](line)
	if err != nil {
		return err
	}
	var data map[string]json.RawMessage
	if json.Unmarshal(message.Data, &data) != nil || data == nil {
		return fmt.Errorf("the worker sent an event whose `data` is no object: %.200s", message.Data)
	}
	if message.Event != heartbeatEvent {
		return nil
	}
	beat, err := decodeReply[Heartbeat](message.Data)
	if err != nil {
		return err
	}
	c.watchdog.takeBeat(beat)
	if tell := c.options.onHeartbeat; tell != nil {
		c.events.offer(mostHeartbeats, func() { tell(beat) })
	}
	return nil
}

// A dispatcher calls the host's listeners in order. Its goroutine runs only while the queue has
// entries. The listeners run without any lock, so they may call the client, including Close.
type dispatcher struct {
	mu    sync.Mutex
	queue []func()
	busy  bool
}

// post queues a call.
func (d *dispatcher) post(tell func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue = append(d.queue, tell)
	if !d.busy {
		d.busy = true
		go d.run()
	}
}

// offer queues a call unless the queue already has most entries.
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
