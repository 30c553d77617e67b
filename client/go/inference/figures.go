//go:build !nomlxlm

package inference

import (
	"sync"
	"sync/atomic"
	"time"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

// figures knows the figures of the operation that ended last.
type figures struct {
	last atomic.Pointer[func() GenerateMetrics]
}

// An operation is a stream of the client, of any kind.
type operation interface {
	Close() error
	Done() (mlxwire.Done, bool)
}

// end notes that an operation has ended or was left. The operation is nil if it could not begin. sink
// may be nil.
func (f *figures) end(o operation, sink func(GenerateMetrics)) {
	read := sync.OnceValue(func() GenerateMetrics { return metricsOf(o) })
	f.last.Store(&read)
	if sink != nil {
		sink(read())
	}
}

// metrics returns the figures of the operation that ended last.
func (f *figures) metrics() GenerateMetrics {
	read := f.last.Load()
	if read == nil {
		return GenerateMetrics{}
	}
	return (*read)()
}

// metricsOf waits until an operation that was left has ended in the worker, and returns its figures.
// They are 0 if it failed, or if the worker does not end it in time.
func metricsOf(o operation) GenerateMetrics {
	if o == nil {
		return GenerateMetrics{}
	}
	_ = o.Close() // the time limit is the only error, and Done then says that there is no end
	done, _ := o.Done()
	metrics := done.Metrics
	return GenerateMetrics{
		PromptTokens:        metrics.PromptTokens,
		GeneratedTokens:     metrics.GeneratedTokens,
		PrefillDuration:     duration(metrics.PrefillSeconds),
		DecodeDuration:      duration(metrics.DecodeSeconds),
		TotalDuration:       duration(metrics.TotalSeconds),
		PrefillTokensPerSec: metrics.PrefillTokensPerSecond,
		DecodeTokensPerSec:  metrics.DecodeTokensPerSecond,
		PeakMemoryBytes:     metrics.PeakMemoryBytes,
		ActiveMemoryBytes:   metrics.ActiveMemoryBytes,
	}
}

func duration(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second))
}
