package mlxwire

import (
	"context"
	"math"
	"time"
)

// This file checks arguments. Each call does so before it starts a process or sends a request.

// NoLimit in a field of LivenessLimits or ShutdownLimits switches that limit off. The field left out
// means its default.
const NoLimit = time.Duration(math.MaxInt64)

// checkContext returns an ErrInvalidParams for a nil context, and the error of one that has ended.
func checkContext(ctx context.Context) error {
	if ctx == nil {
		return invalidParams("ctx", "the context is nil; pass context.Background() if nothing bounds the call")
	}
	return ctx.Err()
}

// applyOptions calls each option with the options of a call. It refuses a nil option.
func applyOptions[O ~func(*T), T any](call string, to *T, options []O) error {
	for i, option := range options {
		if option == nil {
			return invalidParams("options", "option %d of %s is nil; leave it out", i+1, call)
		}
		option(to)
	}
	return nil
}

// fillDuration sets a duration that was left out to its default. It refuses a negative one by name.
func fillDuration(name string, given *time.Duration, byDefault time.Duration) error {
	if *given < 0 {
		return invalidParams(name, "%s is %v; give a positive duration, or leave it out for the default of %v", name, *given, byDefault)
	}
	if *given == 0 {
		*given = byDefault
	}
	return nil
}

// first returns the first error that is not nil.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
