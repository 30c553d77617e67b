package mlxwire

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// Theory of operation
//
// A supervisor owns the series of processes of one Worker. Its goroutine, run, waits for the end
// of the current process and starts the next one if the restart policy allows it. Callers enter
// in connection, close, cause and last; the dispatcher calls the host's listeners.
//
// Order of events for each process: connect (handshake.go) → EventStarted → reload loads the model
// and sets the memory limits → publish makes the process current → EventReady → … → the process
// ends → EventCrashed → withdraw → EventRestarting, a wait, and the next process, or EventGaveUp.
//
// Invariants:
//
//   - current is nil between two processes. Requests that come then wait for changed. Requests
//     that were pending have failed; nothing is ever sent twice.
//   - failure is set once and for good. latest is never nil after a successful start.
//   - Only run starts processes after the first. life ends when the host calls close. publish looks
//     at life under the lock that close takes, so no process becomes current after that.
//   - The first start is tried once. Its host learns of the failure and can correct it.
//
// Hazard: a start or load that fails in the same way every time would fill the whole window with
// useless attempts. The codes in hopeless end the series at once.

// A supervisor runs the processes of a worker, one after the other.
type supervisor struct {
	options *startOptions
	ids     idSource
	events  dispatcher
	history crashHistory
	suspect suspect
	reload  func(context.Context, *connection) error

	life    context.Context // ends when the host closes the worker
	endLife context.CancelFunc
	stopped chan struct{} // closed when no process runs and none will start

	mu      sync.Mutex
	current *connection   // nil between two processes
	latest  *connection   // the current process, or the one that ran last
	changed chan struct{} // closed and replaced when current or failure changes
	failure *Error        // why the worker has ended for good
}

// hopeless are the codes of a start or a load that would fail again in the same way.
var hopeless = map[Code]bool{
	ErrUnsupportedProtocol: true, ErrUnsupportedCapability: true, ErrUnsupportedModel: true,
	ErrModelNotFound: true, ErrModelLoadFailed: true, ErrInvalidParams: true,
}

func newSupervisor(o *startOptions, reload func(context.Context, *connection) error) *supervisor {
	s := &supervisor{
		options: o, reload: reload,
		stopped: make(chan struct{}), changed: make(chan struct{}),
	}
	if o.restart != nil {
		s.history.policy = *o.restart
	}
	s.life, s.endLife = context.WithCancel(context.Background())
	return s
}

// start starts the first process. It does not try again after a failure.
func (s *supervisor) start(ctx context.Context) error {
	c, err := s.attempt(ctx)
	if err != nil {
		s.endLife()
		return err
	}
	go s.run(c)
	return nil
}

// connection returns the current process. It waits while the next one is being started. It returns
// an error if the context is nil or has ended, so that no call sends a request then.
func (s *supervisor) connection(ctx context.Context) (*connection, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	for {
		s.mu.Lock()
		current, failure, changed := s.current, s.failure, s.changed
		s.mu.Unlock()
		switch {
		case failure != nil:
			return nil, delivered(failure, 0)
		case current != nil && (current.cause() == nil || s.options.restart == nil):
			return current, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// run follows one process after the other until the worker has ended for good.
func (s *supervisor) run(c *connection) {
	defer close(s.stopped)
	for c != nil {
		select {
		case <-c.gone:
		case <-c.ended: // the process survived SIGKILL
		}
		if s.life.Err() != nil {
			return
		}
		failure := c.cause()
		s.options.logger.Error("the worker crashed", "pid", c.pid(), "error", failure)
		s.post(Event{Kind: EventCrashed, PID: c.pid(), Err: failure})
		if s.options.restart == nil {
			s.withdraw(failure)
			return
		}
		s.withdraw(nil)
		c = s.restart(failure)
	}
}

// restart starts the next process and tries again as often as the policy allows. It returns nil if
// it gave up or the host closed the worker.
func (s *supervisor) restart(failure *Error) *connection {
	served := failure.InFlight > 0
	for {
		wait, restarts, ok := s.history.crashed(time.Now(), rand.Float64(), served)
		served = false // no request is in flight during a start
		if !ok {
			s.giveUp(failure, restarts)
			return nil
		}
		s.options.logger.Info("restarting the worker", "wait", wait, "restarts", restarts)
		s.post(Event{Kind: EventRestarting, Err: failure, Wait: wait, Restarts: restarts})
		select {
		case <-time.After(wait):
		case <-s.life.Done():
			return nil
		}
		c, err := s.attempt(s.life)
		if err == nil {
			return c
		}
		if s.life.Err() != nil {
			return nil
		}
		failure = asError(err)
		s.options.logger.Error("the worker could not be restarted", "error", failure)
		s.post(Event{Kind: EventCrashed, Err: failure})
		if hopeless[failure.Code] {
			s.giveUp(failure, restarts+1)
			return nil
		}
	}
}

// attempt starts a process, loads the model of the process before it, and makes it current.
func (s *supervisor) attempt(ctx context.Context) (*connection, error) {
	c, err := connect(ctx, s.options, &s.ids, &s.events)
	if err != nil {
		return nil, err
	}
	s.options.logger.Info("the worker started", "pid", c.pid(), "engine", c.hello.Worker.Engine)
	s.post(Event{Kind: EventStarted, PID: c.pid()})
	s.mu.Lock()
	s.latest = c
	s.mu.Unlock()
	if err := s.reload(ctx, c); err != nil {
		_ = c.close() // the failure of the reload is the error to return
		return nil, err
	}
	if !s.publish(c) {
		_ = c.close()
		return nil, closedByHost()
	}
	s.post(Event{Kind: EventReady, PID: c.pid()})
	return c, nil
}

// publish makes a process current. It returns false if the host has closed the worker.
func (s *supervisor) publish(c *connection) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		return false
	}
	c.watchCrash(s.judge)
	s.current = c
	s.changedLocked()
	return true
}

// judge marks a crash as not retryable if the request that was alone in flight was alone at the
// crash before, too.
func (s *supervisor) judge(crash *Error, asked []*request) {
	if s.suspect.crashed(asked) {
		killedAgain(crash)
	}
}

func (s *supervisor) giveUp(last *Error, crashes int) {
	failure := gaveUp(last, crashes, s.history.serving(), s.history.policy.Window)
	s.options.logger.Error("the worker crashed too often and is not started again", "crashes", crashes, "error", failure)
	s.withdraw(failure)
	s.post(Event{Kind: EventGaveUp, Err: failure, Restarts: crashes - 1})
}

// close ends the current process, or the attempt to start one.
func (s *supervisor) close() error {
	s.endLife()
	s.mu.Lock()
	current := s.current
	s.mu.Unlock()
	var err error
	if current != nil {
		err = current.close()
	}
	<-s.stopped
	s.withdraw(closedByHost())
	return err
}

// withdraw removes the current process. With a failure the worker has ended for good; the first
// failure stays.
func (s *supervisor) withdraw(failure *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = nil
	if s.failure == nil {
		s.failure = failure
	}
	s.changedLocked()
}

func (s *supervisor) changedLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *supervisor) post(event Event) {
	if tell := s.options.onEvent; tell != nil {
		s.events.post(func() { tell(event) })
	}
}

// cause returns why the worker has ended for good, or nil.
func (s *supervisor) cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		return nil
	}
	return s.failure
}

// last returns the current process, or the one that ran last.
func (s *supervisor) last() *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest
}

// asError returns the *Error in err, or an ErrInternal with its text.
func asError(err error) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	return newError(ErrInternal, "%v", err)
}
