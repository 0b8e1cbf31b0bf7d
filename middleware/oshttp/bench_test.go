package oshttp_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

const (
	sampledParent   = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	unsampledParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
)

// sdkProviders returns a pipeline as in services, but without export.
func sdkProviders() telemetry.Providers {
	p := telemetry.Off()
	p.TracerProvider = sdktrace.NewTracerProvider()
	p.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	p.Propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	return p
}

// benchMux is the router of every benchmark.
func benchMux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /users/{id}", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// nullWriter is a ResponseWriter without cost.
type nullWriter struct{ header http.Header }

func (w *nullWriter) Header() http.Header         { return w.header }
func (w *nullWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *nullWriter) WriteHeader(int)             {}

func benchRequest(traceparent string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/users/42", nil)
	r.Header.Set("User-Agent", "bench/1.0")
	r.Header.Set("Traceparent", traceparent)
	return r
}

// cases are the configurations with a promised cost. The benchmarks measure them, and tests enforce the promises.
func cases() []struct {
	name    string
	handler http.Handler
	parent  string
	allocs  float64 // promised
} {
	full := &oshttp.HandlerOptions{Telemetry: sdkProviders(), AccessLog: true}
	full.Telemetry.Logger = slog.New(slog.NewJSONHandler(io.Discard, nil))
	metrics := sdkProviders()
	metrics.TracerProvider = telemetry.Off().TracerProvider
	return []struct {
		name    string
		handler http.Handler
		parent  string
		allocs  float64
	}{
		{"bare", benchMux(), sampledParent, 1},
		{"off", oshttp.NewHandler(benchMux(), &oshttp.HandlerOptions{Telemetry: telemetry.Off()}), sampledParent, 2},
		{"metrics", oshttp.NewHandler(benchMux(), &oshttp.HandlerOptions{Telemetry: metrics}), sampledParent, 4},
		{"unsampled", oshttp.NewHandler(benchMux(), &oshttp.HandlerOptions{Telemetry: sdkProviders()}), unsampledParent, 6},
		{"sampled", oshttp.NewHandler(benchMux(), &oshttp.HandlerOptions{Telemetry: sdkProviders()}), sampledParent, 7},
		{"accesslog", oshttp.NewHandler(benchMux(), full), sampledParent, 7},
	}
}

func BenchmarkHandler(b *testing.B) {
	for _, c := range cases() {
		b.Run(c.name, func(b *testing.B) {
			r, w := benchRequest(c.parent), &nullWriter{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				c.handler.ServeHTTP(w, r)
			}
		})
	}
}

func roundTrip(tb testing.TB, transport http.RoundTripper, r *http.Request) {
	res, err := transport.RoundTrip(r)
	if err != nil {
		tb.Fatal(err)
	}
	_ = res.Body.Close()
}

func BenchmarkTransport(b *testing.B) {
	base := carry(func(*http.Request) {})
	for _, c := range []struct {
		name      string
		transport http.RoundTripper
	}{
		{"bare", base},
		{"off", oshttp.NewTransport(base, &oshttp.TransportOptions{Telemetry: telemetry.Off()})},
		{"sampled", oshttp.NewTransport(base, &oshttp.TransportOptions{Telemetry: sdkProviders()})},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := benchRequest(sampledParent)
			b.ReportAllocs()
			for b.Loop() {
				roundTrip(b, c.transport, r)
			}
		})
	}
}
