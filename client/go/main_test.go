package mlxwire

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// roleVariable makes the test program run as a worker, for tests that need a real process.
const roleVariable = "MLXWIRE_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		roles[role]()
		os.Exit(0)
	}
	code := m.Run()
	if left := awaitGoroutines(); code == 0 && left != "" {
		fmt.Fprintln(os.Stderr, "goroutines of the client still run after all tests:\n"+left)
		code = 1
	}
	os.Exit(code)
}

// asRole returns options that start this program as a worker with a role.
func asRole(role string) []StartOption {
	return []StartOption{WithCommand(os.Args[0], "-test.run=^$"), WithEnv(roleVariable+"="+role, "GORACE=atexit_sleep_ms=0")}
}

// awaitGoroutines waits for the client's goroutines to end. It returns those that have not, or "".
func awaitGoroutines() string {
	deadline := time.Now().Add(20 * time.Second)
	for {
		left := clientGoroutines()
		if left == "" || time.Now().After(deadline) {
			return left
		}
		runtime.Gosched()
	}
}

func clientGoroutines() string {
	buffer := make([]byte, 1<<20)
	buffer = buffer[:runtime.Stack(buffer, true)]
	var left []string
	for _, stack := range strings.Split(string(buffer), "\n\n") {
		if strings.Contains(stack, "mlxwire/client/go") && !strings.Contains(stack, "TestMain") &&
			!strings.Contains(stack, "testing.tRunner") {
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}
