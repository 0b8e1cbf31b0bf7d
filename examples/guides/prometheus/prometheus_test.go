// Package prometheus compiles and runs the programs of docs/guides/beside-prometheus.md.
package prometheus

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/go-os/go-os/exporters"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
	"github.com/go-os/go-os/telemetry/metrics"
)

// existing returns the registry of a program. Go OS emits one of its names, too.
func existing() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	greetings := prometheus.NewCounter(prometheus.CounterOpts{Name: "greetings_total", Help: "Greetings."})
	duration := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "http_server_request_duration_seconds", Help: "The service's own."})
	registry.MustRegister(greetings, duration)
	greetings.Inc()
	duration.Observe(0.1)
	return registry
}

// counts returns the counters of HTTP and of the service on a page, without values and labels.
func counts(page http.Handler) []string {
	answer := httptest.NewRecorder()
	page.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	var names []string
	for line := range strings.Lines(answer.Body.String()) {
		name, _, _ := strings.Cut(line, " ")
		name, _, _ = strings.Cut(name, "{")
		if strings.HasSuffix(name, "duration_seconds_count") || name == "greetings_total" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TestOnePage checks that the registry keeps its names, and that our series of the same name gets another.
func TestOnePage(t *testing.T) {
	ctx, registry := t.Context(), existing()

	pipeline, err := exporters.Setup(ctx, &exporters.Options{
		ServiceName:      "greeter",
		Gatherer:         registry, // or prometheus.DefaultGatherer
		NoRuntimeMetrics: true,     // if the registry has collectors.NewGoCollector
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", pipeline.MetricsHandler()) // instead of promhttp.Handler

	handler := oshttp.NewHandler(mux, nil)
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	want := []string{"greetings_total", "http_server_request_duration_seconds_count", "otel_http_server_request_duration_seconds_count"}
	if got := counts(pipeline.MetricsHandler()); !slices.Equal(got, want) {
		t.Errorf("page = %v, want %v", got, want)
	}
	if err := pipeline.Shutdown(context.WithoutCancel(ctx)); err != nil {
		t.Error(err)
	}
}

func Example_ownMeterProvider() {
	registry := existing()

	page, err := metrics.NewPrometheus(&metrics.PrometheusOptions{Existing: registry})
	if err != nil {
		fmt.Println(err)
		return
	}
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(page.Reader())) // beside your other readers
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", page.Handler())

	providers := telemetry.Off()
	providers.MeterProvider = mp
	oshttp.NewHandler(mux, &oshttp.HandlerOptions{Telemetry: providers}).
		ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Println(counts(page.Handler()))
	// Output: [greetings_total http_server_request_duration_seconds_count otel_http_server_request_duration_seconds_count]
}

func Example_bridge() {
	registry := existing()

	bridge := metrics.NewBridge(registry, nil)
	reader := sdkmetric.NewManualReader(sdkmetric.WithProducer(bridge)) // or a PeriodicReader of an OTLP exporter

	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	var collected metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &collected); err != nil {
		fmt.Println(err)
	}
	for _, m := range collected.ScopeMetrics[0].Metrics {
		fmt.Println(m.Name)
	}
	fmt.Println(mp.Shutdown(context.Background()))
	// Output:
	// greetings_total
	// http_server_request_duration_seconds
	// <nil>
}

// TestBridgeOption checks that BridgeRegistry sends the registry over OTLP, and is an error without a registry.
func TestBridgeOption(t *testing.T) {
	requests := make(chan string, 16)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && r.URL.Path == "/v1/metrics" {
			requests <- string(body)
		}
	}))
	defer collector.Close()
	ctx, registry := t.Context(), existing()

	pipeline, err := exporters.Setup(ctx, &exporters.Options{
		ServiceName:    "greeter",
		Endpoint:       collector.URL,
		Gatherer:       registry,
		BridgeRegistry: true, // sends the registry over OTLP, too
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := pipeline.Shutdown(context.WithoutCancel(ctx)); err != nil {
		t.Error(err)
	}
	if body := <-requests; !strings.Contains(body, "greetings_total") {
		t.Error("the collector received no series of the registry")
	}
	if _, err := exporters.Setup(ctx, &exporters.Options{BridgeRegistry: true}); err == nil {
		t.Error("BridgeRegistry without a registry: no error")
	}
}
