package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-os/go-os/exporters"
	"github.com/go-os/go-os/middleware/oshttp"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	pipeline, err := exporters.Setup(ctx, &exporters.Options{ServiceName: "hello"})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", pipeline.MetricsHandler())
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Hello, %s!\n", r.PathValue("name"))
	})
	server := &http.Server{Addr: "127.0.0.1:8080", Handler: oshttp.NewHandler(mux, nil)}
	served := make(chan error, 1)
	go func() { served <- server.ListenAndServe(); stop() }()
	<-ctx.Done()
	stop() // a second signal ends the program at once
	drain, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	server.Shutdown(drain)                  // requests first
	pipeline.Shutdown(context.Background()) // telemetry last, in a time of its own; the log says what is lost
	if err := <-served; err != http.ErrServerClosed {
		log.Fatal(err)
	}
}
