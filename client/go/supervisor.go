package mlxwire

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// A supervisor keeps a worker's process going: it starts it, sees its end, and starts another
// where the policy allows that. Requests that come between two processes wait; those that were
// pending have failed, and are never repeated.
type supervisor struct {
	options *startOptions
	ids     idSource
	events  dispatcher
	history crashHistory
	suspect suspect
	reload  func(context.Context, *connection) error

	life    context.Context // ends when the host closes the worker
	endLife context.CancelFunc
	stopped chan struct{} // closed when no process is there and none will be

	mu      sync.Mutex
	current *connection   // nil between two processes
	latest  *connection   // also after its end
	changed chan struct{} // closed when current or failure change
	failure *Error        // for good
}

// hopeless is what a start or a load fails with every time: another would change nothing.
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

// start starts the first process. One that fails is not tried again: its host should know.
func (s *supervisor) start(ctx context.Context) error {
	c, err := s.attempt(ctx)
	if err != nil {
		s.endLife()
		return err
	}
	go s.run(c)
	return nil
}

// connection gives the process to ask, and waits while another one is started.
func (s *supervisor) connection(ctx context.Context) (*connection, error) {
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

// run follows the process that lives until none is to follow it.
func (s *supervisor) run(c *connection) {
	defer close(s.stopped)
	for c != nil {
		select {
		case <-c.gone:
		case <-c.ended: // nothing could end it
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

// restart starts another process, as often as the policy allows; nil where it gave up, or the
// host closed the worker.
func (s *supervisor) restart(failure *Error) *connection {
	served := failure.InFlight > 0
	for {
		wait, restarts, ok := s.history.crashed(time.Now(), rand.Float64(), served)
		served = false // a start serves nobody
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

// attempt starts a process, and gives it the model that the one before it had.
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
		_ = c.close() // why it was started in vain is the better error
		return nil, err
	}
	if !s.publish(c) {
		_ = c.close()
		return nil, closedByHost()
	}
	s.post(Event{Kind: EventReady, PID: c.pid()})
	return c, nil
}

// publish gives requests a process; false where the host closed the worker meanwhile.
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

// judge adds to a crash what the one before tells of it.
func (s *supervisor) judge(crash *Error, asked []*request) {
	if s.suspect.crashed(asked) {
		killedAgain(crash)
	}
}

func (s *supervisor) giveUp(last *Error, crashes int) {
	failure := gaveUp(last, crashes, s.history.serving(), s.history.policy.Window)
	s.options.logger.Error("the worker is given up", "crashes", crashes, "error", failure)
	s.withdraw(failure)
	s.post(Event{Kind: EventGaveUp, Err: failure, Restarts: crashes - 1})
}

// close ends the process that lives, or the attempt to start one.
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

// withdraw leaves requests without a process: until the next one, or for good with a failure,
// of which the first stays.
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

// cause is why the worker is gone for good; nil while it is not.
func (s *supervisor) cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		return nil
	}
	return s.failure
}

// last is the process that lives, or that lived last.
func (s *supervisor) last() *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest
}

func asError(err error) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	return newError(ErrInternal, "%v", err)
}
