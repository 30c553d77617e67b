package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

const patience = time.Minute

// mock returns the command of a worker with the mock engine, which echoes prompts.
func mock(t *testing.T) []string {
	t.Helper()
	if os.Getenv(mlxwire.WorkerVariable) != "" {
		words, err := mlxwire.FindWorker()
		if err != nil {
			t.Fatal(err)
		}
		return append(words, "--engine", "mock")
	}
	python, err := filepath.Abs("../../.venv/bin/python")
	if err == nil {
		_, err = os.Stat(python)
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI needs a worker: name its command in %s, or set up .venv with `make setup`", mlxwire.WorkerVariable)
		}
		t.Skipf("no worker was found: name its command in %s, or set up .venv with `make setup`", mlxwire.WorkerVariable)
	}
	return []string{python, "-P", "-m", "mlxwire_worker", "--engine", "mock"}
}

func serve(t *testing.T) (*daemon, *httptest.Server) {
	t.Helper()
	words := mock(t)
	d, err := startDaemon(t.Context(), "any", mlxwire.WithCommand(words[0], words[1:]...))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(d.handler())
	t.Cleanup(func() {
		server.Close()
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
	return d, server
}

// An event is one server-sent event.
type event struct {
	name string
	data map[string]any
}

// ask posts a question and calls take with each event of its answer.
func ask(t *testing.T, url, body string, take func(event)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/chat", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var next event
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			next = event{name: name}
		}
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(data), &next.data); err != nil {
				t.Fatal(err)
			}
			take(next)
		}
	}
}

// answer returns the whole text of an answer, and its last event.
func answer(t *testing.T, url, content string) (text string, last event) {
	t.Helper()
	ask(t, url, `{"messages":[{"role":"user","content":"`+content+`"}]}`, func(e event) {
		if e.name == "token" {
			text += e.data["text"].(string)
		}
		last = e
	})
	return text, last
}

func TestAnAnswerIsStreamed(t *testing.T) {
	_, server := serve(t)
	text, last := answer(t, server.URL, "one two three")
	if text != "one two three" || last.name != "done" || last.data["finish_reason"] != "stop" {
		t.Errorf("the answer is %q, its last event %+v", text, last)
	}
}

func TestThoughtsAreEventsOfTheirOwn(t *testing.T) {
	_, server := serve(t)
	thoughts, text := "", ""
	ask(t, server.URL, `{"messages":[{"role":"user","content":"<think>so that</think>yes"}]}`, func(e event) {
		switch e.name {
		case "thought":
			thoughts += e.data["text"].(string)
		case "token":
			text += e.data["text"].(string)
		}
	})
	if thoughts != "so that" || text != "yes" {
		t.Errorf("the thoughts are %q, the answer is %q", thoughts, text)
	}
}

func TestTheNextQuestionIsAnsweredAfterACrash(t *testing.T) {
	d, server := serve(t)
	var last event
	long := strings.Repeat("word ", 5000)
	ask(t, server.URL, `{"messages":[{"role":"user","content":"`+long+`"}],"max_tokens":5000}`, func(e event) {
		if last.name == "" {
			worker, err := os.FindProcess(d.worker.PID())
			if err == nil {
				err = worker.Kill()
			}
			if err != nil {
				t.Error(err)
			}
		}
		last = e
	})
	if last.name != "error" || last.data["code"] != "worker_crashed" || last.data["retryable"] != true {
		t.Errorf("the answer during the crash ended with %+v", last)
	}
	if text, last := answer(t, server.URL, "one two"); text != "one two" || last.name != "done" {
		t.Errorf("the next answer is %q, its last event %+v", text, last)
	}
	health := get(t, server.URL+"/healthz")
	if health["restarts"] != 1.0 {
		t.Errorf("the health is %v", health)
	}
}

func TestTheDaemonEndsWithItsContext(t *testing.T) {
	t.Setenv(mlxwire.WorkerVariable, "'"+strings.Join(mock(t), "' '")+"'")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, address, "any", slog.New(slog.NewTextHandler(io.Discard, nil))) }()
	for began := time.Now(); ; {
		if answer, err := http.Get("http://" + address + "/healthz"); err == nil {
			answer.Body.Close()
			break
		}
		if time.Since(began) > patience {
			t.Fatal("the daemon does not listen")
		}
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the daemon does not end")
	}
}

func get(t *testing.T, url string) (body map[string]any) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return body
}
