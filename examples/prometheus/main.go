// Command prometheus adds Go OS to a service that already uses client_golang. Its registry and its collectors stay as they are, and one
// page serves every series of both.
//
//	go run ./examples/prometheus
//	curl http://127.0.0.1:8080/hello/world
//	curl http://127.0.0.1:8080/metrics
//
// Both have a histogram called http_server_request_duration_seconds. The service keeps that name, so no dashboard breaks. The histogram of
// Go OS becomes otel_http_server_request_duration_seconds.
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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/go-os/go-os/exporters"
	"github.com/go-os/go-os/middleware/oshttp"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "host:port to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, *addr); err != nil {
		log.Fatal("prometheus: ", err)
	}
}

func run(ctx context.Context, addr string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	existing := newInstruments()
	pipeline, err := exporters.Setup(ctx, &exporters.Options{
		ServiceName: "existing",
		Gatherer:    existing.registry, // serves both on one page
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", pipeline.MetricsHandler())
	mux.HandleFunc("GET /hello/{name}", existing.hello)
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

// instruments are the existing metrics of the service.
type instruments struct {
	registry  *prometheus.Registry
	greetings *prometheus.CounterVec
	size      prometheus.Summary
	busy      prometheus.Gauge
	duration  *prometheus.HistogramVec
}

func newInstruments() *instruments {
	i := &instruments{
		registry:  prometheus.NewRegistry(),
		greetings: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "greetings_total", Help: "Greetings by name."}, []string{"name"}),
		size:      prometheus.NewSummary(prometheus.SummaryOpts{Name: "greeting_bytes", Help: "Sizes of greetings.", Objectives: map[float64]float64{0.5: 0.05}}),
		busy:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "greetings_in_flight", Help: "Greetings under way."}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_server_request_duration_seconds", Help: "The service's own.", Buckets: []float64{0.1, 1},
		}, []string{"handler"}),
	}
	i.registry.MustRegister(i.greetings, i.size, i.busy, i.duration, collectors.NewGoCollector(), collectors.NewBuildInfoCollector())
	return i
}

func (i *instruments) hello(w http.ResponseWriter, r *http.Request) {
	i.busy.Inc()
	defer i.busy.Dec()
	defer prometheus.NewTimer(i.duration.WithLabelValues("hello")).ObserveDuration()
	n, _ := fmt.Fprintf(w, "Hello, %s!\n", r.PathValue("name"))
	i.size.Observe(float64(n))
	i.greetings.WithLabelValues(r.PathValue("name")).Inc()
}
