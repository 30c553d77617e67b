package mlxwire

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mlxwire/mlxwire/client/go/internal/workertest"
)

const benchTokens = 1_000_000

// BenchmarkStreams measures how many tokens a second the client reads from another process, which
// writes encoded lines as far as it has credit.
func BenchmarkStreams(b *testing.B) {
	for _, streams := range []int{1, 64} {
		b.Run(strconv.Itoa(streams), func(b *testing.B) {
			reportRate(b, func() time.Duration { return readStreams(b, streams, benchTokens/streams) })
		})
	}
}

// BenchmarkBarePipe measures the upper bound: the same lines with an endless window, read with a
// bufio.Scanner and encoding/json.
func BenchmarkBarePipe(b *testing.B) {
	reportRate(b, func() time.Duration { return readBare(b) })
}

func reportRate(b *testing.B, round func() time.Duration) {
	var took time.Duration
	rounds := 0
	for b.Loop() {
		took += round()
		rounds++
	}
	b.ReportMetric(float64(benchTokens*rounds)/took.Seconds(), "tokens/s")
}

func startBurst(b *testing.B) *Model {
	b.Helper()
	worker, err := Start(b.Context(), asRole("burst")...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { worker.Close() })
	model, err := worker.Load(b.Context(), "m")
	if err != nil {
		b.Fatal(err)
	}
	return model
}

// readStreams reads streams side by side. It returns the time from the first token to the last.
func readStreams(b *testing.B, streams, each int) time.Duration {
	model := startBurst(b)
	var first sync.Once
	var began time.Time
	var group sync.WaitGroup
	for range streams {
		workertest.Go(&group, func() {
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
	took := time.Since(began)
	if err := model.worker.Close(); err != nil {
		b.Error(err)
	}
	return took
}

func readBare(b *testing.B) time.Duration {
	cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), roleVariable+"=burst")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	fmt.Fprintf(stdin, `{"id":"g","cmd":"generate","prompt":"%d","window":%d}`+"\n", benchTokens, benchTokens)
	var began time.Time
	count := 0
	for lines := bufio.NewScanner(stdout); count < benchTokens && lines.Scan(); count++ {
		if count == 0 {
			began = time.Now()
		}
		var token struct {
			ID    string `json:"id"`
			Type  string `json:"type"`
			Text  string `json:"token"`
			Token int    `json:"token_id"`
			Seq   int    `json:"seq"`
		}
		if err := json.Unmarshal(lines.Bytes(), &token); err != nil || token.Seq != count {
			b.Fatal(token, err)
		}
	}
	took := time.Since(began)
	stdin.Close()
	_, _ = io.Copy(io.Discard, stdout)
	_ = cmd.Wait()
	return took
}

// BenchmarkSleepers measures the memory of a stream that nobody reads.
func BenchmarkSleepers(b *testing.B) {
	const sleepers = 64
	for b.Loop() {
		model := startBurst(b)
		before := heapBytes()
		streams := make([]*Stream, sleepers)
		for i := range streams {
			stream, err := model.GenerateStream(b.Context(), "100000")
			if err != nil {
				b.Fatal(err)
			}
			streams[i] = stream
		}
		for _, err := range model.Generate(b.Context(), "1000") { // answered after all the others
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(heapBytes()-before)/sleepers, "heap-bytes/stream")
		runtime.KeepAlive(streams)
		if err := model.worker.Close(); err != nil {
			b.Error(err)
		}
	}
}

func heapBytes() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
