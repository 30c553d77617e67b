// Command go-daemon serves a local model over HTTP: POST /chat streams an answer as server-sent
// events, and GET /healthz reports the worker's state. If the worker crashes, the answers in
// progress fail, and the daemon goes on with a new worker.
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
	// headerLimit bounds how long a client may take to send its request's header.
	headerLimit = 10 * time.Second
	// drainLimit is how long answers may continue after the daemon was asked to end.
	drainLimit = 10 * time.Second
)

func main() {
	address := flag.String("listen", "127.0.0.1:8080", "the address to listen on; keep it local, because there is no authentication")
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

// run serves until the context ends. It then waits for answers in progress, and closes the worker.
func run(ctx context.Context, address, model string, logger *slog.Logger) (err error) {
	if model == "" {
		return errors.New("no model was given; name its folder with -model")
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
		return server.Close() // cuts off answers that are still in progress
	}
	return nil
}
