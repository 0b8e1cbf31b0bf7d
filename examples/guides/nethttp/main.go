// Command nethttp is the service of docs/guides/net-http.md: orders, which calls payments, with Go OS added.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-os/go-os/exporters"
	"github.com/go-os/go-os/middleware/oshttp"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	listener, err := net.Listen("tcp", "127.0.0.1:8080")
	if err == nil {
		err = run(ctx, listener, "http://127.0.0.1:8081")
	}
	if err != nil {
		log.Fatal("orders: ", err)
	}
}

// run serves orders until ctx ends.
func run(ctx context.Context, listener net.Listener, payments string) error {
	pipeline, err := exporters.Setup(ctx, &exporters.Options{ServiceName: "orders"})
	if err != nil {
		return err
	}

	orders := &orders{payments: payments, client: &http.Client{Transport: oshttp.NewTransport(nil, nil)}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders/{id}", orders.place)
	mux.Handle("GET /metrics", pipeline.MetricsHandler())
	server := &http.Server{
		Handler: oshttp.NewHandler(mux, &oshttp.HandlerOptions{
			AccessLog: true,
			Filter:    func(r *http.Request) bool { return oshttp.NotHealth(r) && r.URL.Path != "/metrics" },
		}),
		ReadHeaderTimeout: 5 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	select {
	case <-ctx.Done():
	case err = <-served: // the listener failed
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = errors.Join(err, server.Shutdown(drain))    // requests first
	_ = pipeline.Shutdown(context.WithoutCancel(ctx)) // telemetry last; the log says what is lost
	return err
}

// orders accepts orders and charges them through the service payments.
type orders struct {
	client   *http.Client
	payments string
}

func (o *orders) place(w http.ResponseWriter, r *http.Request) {
	slog.InfoContext(r.Context(), "placing an order", "order", r.PathValue("id"))
	call, err := http.NewRequestWithContext(r.Context(), http.MethodPost, o.payments+"/charges", nil)
	if err != nil {
		http.Error(w, "bad order", http.StatusBadRequest)
		return
	}
	response, err := o.client.Do(call)
	if err != nil {
		http.Error(w, "payments does not answer", http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	fmt.Fprintf(w, "order %s: %s\n", r.PathValue("id"), response.Status)
}
