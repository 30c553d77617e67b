package mlxwire

import (
	"strconv"
	"sync"
	"testing"
	"time"
)

// BenchmarkStreams measures tokens a second into the client, from another process that writes
// encoded lines as far as it is given credit.
func BenchmarkStreams(b *testing.B) {
	const tokens = 1_000_000
	for _, streams := range []int{1, 64} {
		b.Run(strconv.Itoa(streams), func(b *testing.B) {
			var took time.Duration
			rounds := 0
			for b.Loop() {
				took += readBurst(b, streams, tokens/streams)
				rounds++
			}
			b.ReportMetric(float64(tokens*rounds)/took.Seconds(), "tokens/s")
		})
	}
}

// readBurst reads streams side by side; the time from the first token to the last.
func readBurst(b *testing.B, streams, each int) time.Duration {
	worker, err := Start(b.Context(), asRole("burst")...)
	if err != nil {
		b.Fatal(err)
	}
	defer worker.Close()
	model, err := worker.Load(b.Context(), "m")
	if err != nil {
		b.Fatal(err)
	}
	var first sync.Once
	var began time.Time
	var group sync.WaitGroup
	for range streams {
		group.Go(func() {
			count := 0
			for _, err := range model.Generate(b.Context(), strconv.Itoa(each)) {
				if err != nil {
					b.Error(err)
					return
				}
				if count == 0 {
					first.Do(func() { began = time.Now() })
				}
				count++
			}
			if count != each {
				b.Errorf("read %d of %d tokens", count, each)
			}
		})
	}
	group.Wait()
	return time.Since(began)
}
