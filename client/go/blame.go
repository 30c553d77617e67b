package mlxwire

// This file finds the requests that a crash may be due to.

// watchCrash sets the function that adds a supervisor's knowledge to a crash before any request
// fails with it.
func (c *connection) watchCrash(judge func(*Error, []*request)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onCrash = judge
}

// judgeCrash counts the requests that a crash may be due to, and lets the supervisor judge it.
func (c *connection) judgeCrash(err *Error) {
	if err.Code != ErrWorkerCrashed {
		return
	}
	var asked []*request
	for _, sink := range c.wire.Pending() {
		if r := sink.(*request); r.asks() {
			asked = append(asked, r)
		}
	}
	err.InFlight = len(asked)
	if c.onCrash != nil {
		c.onCrash(err, asked)
	}
}

// asks returns true if the request makes the worker compute, so that a crash may be due to it.
func (r *request) asks() bool {
	return !r.command.Blameless
}
