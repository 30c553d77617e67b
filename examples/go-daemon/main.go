// Command go-daemon serves a local model over HTTP: POST /chat streams the answer as
// server-sent events, GET /healthz tells how the worker is. A crash of the worker fails the
// answers that it was giving, and is survived.
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	mlxwire "github.com/mlxwire/mlxwire/client/go"
)

const (
	// headerLimit bounds how long a client may take to say what it wants.
	headerLimit = 10 * time.Second
	// drainLimit is how long answers may go on after the daemon was asked to end.
	drainLimit = 10 * time.Second
)

func main() {
	address := flag.String("listen", "127.0.0.1:8080", "where to listen; keep it local, there is no authentication")
	model := flag.String("model", "", "the model's folder")
	flag.Parse()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *address, *model, logger); err != nil {
		logger.Error("the daemon failed", "error", err)
		os.Exit(1)
	}
}

// run serves until the context ends, then lets answers end and closes the worker.
func run(ctx context.Context, address, model string, logger *slog.Logger) (err error) {
	if model == "" {
		return errors.New("name a model's folder with -model")
	}
	d, err := startDaemon(ctx, model, mlxwire.WithLogger(logger))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	logger.Info("listening", "address", listener.Addr().String(), "model", model)
	server := &http.Server{Handler: d.handler(), ReadHeaderTimeout: headerLimit}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	draining, cancel := context.WithTimeout(context.Background(), drainLimit)
	defer cancel()
	if err := server.Shutdown(draining); err != nil {
		return server.Close() // leaves the answers that still went on
	}
	return nil
}
