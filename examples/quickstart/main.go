// Command quickstart is a minimal service with traces, metrics and logs:
//
//	go run ./examples/quickstart
//	curl http://127.0.0.1:8080/hello/world http://127.0.0.1:8080/metrics
//
// Set OTEL_EXPORTER_OTLP_ENDPOINT to send its telemetry to an OpenTelemetry collector as well.
package main

import (
	"context"
	"flag"
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
	addr := flag.String("addr", "127.0.0.1:8080", "host:port to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, *addr); err != nil {
		log.Fatal("quickstart: ", err)
	}
}

func run(ctx context.Context, addr string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	pipeline, err := exporters.Setup(ctx, &exporters.Options{ServiceName: "quickstart"})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", pipeline.MetricsHandler())
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		slog.InfoContext(r.Context(), "greeting", "name", r.PathValue("name"))
		fmt.Fprintf(w, "Hello, %s!\n", r.PathValue("name"))
	})
	slog.Info("listening", "url", "http://"+listener.Addr().String())
	server := &http.Server{Handler: oshttp.NewHandler(mux, nil), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Shutdown
	<-ctx.Done()
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = server.Shutdown(draining) // requests first
	// Telemetry comes last, with its own timeout (Options.ShutdownTimeout). The log reports lost telemetry, which is not a failure of the
	// service.
	_ = pipeline.Shutdown(context.WithoutCancel(ctx))
	return err
}
