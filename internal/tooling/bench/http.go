package bench

import (
	"log/slog"
	"net/http"
	"net/http/httptest"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// HTTP are the cases of one routed server request, with an incoming traceparent. They serve straight from memory, without a network and a
// net/http server, whose cost is the same for all.
var HTTP = []Case{
	{"bare mux", httpCase(func(mux http.Handler) http.Handler { return mux })},
	{"oshttp, providers off", oshttpCase(telemetry.Off)},
	{"oshttp, unsampled", oshttpCase(unsampled)},
	{"oshttp, sampled", oshttpCase(sampled)},
	{"oshttp, sampled, access log", httpCase(func(mux http.Handler) http.Handler {
		p := sampled()
		p.Logger = slog.New(slog.NewJSONHandler(discard{}, nil))
		return oshttp.NewHandler(mux, &oshttp.HandlerOptions{Telemetry: p, AccessLog: true})
	})},
	{"otelhttp, unsampled", otelhttpCase(unsampled)},
	{"otelhttp, sampled", otelhttpCase(sampled)},
}

func sampled() telemetry.Providers   { return sdk(sdktrace.AlwaysSample()) }
func unsampled() telemetry.Providers { return sdk(sdktrace.NeverSample()) }

func oshttpCase(providers func() telemetry.Providers) func() (func(), func()) {
	return httpCase(func(mux http.Handler) http.Handler {
		return oshttp.NewHandler(mux, &oshttp.HandlerOptions{Telemetry: providers()})
	})
}

func otelhttpCase(providers func() telemetry.Providers) func() (func(), func()) {
	return httpCase(func(mux http.Handler) http.Handler {
		p := providers()
		return otelhttp.NewHandler(mux, "server",
			otelhttp.WithTracerProvider(p.TracerProvider),
			otelhttp.WithMeterProvider(p.MeterProvider),
			otelhttp.WithPropagators(p.Propagator))
	})
}

func httpCase(wrap func(http.Handler) http.Handler) func() (func(), func()) {
	return func() (func(), func()) {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /users/{id}", func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(hello)
		})
		handler := wrap(mux)
		r := httptest.NewRequest(http.MethodGet, "/users/42", nil)
		r.Header.Set("Traceparent", parent)
		r.Header.Set("User-Agent", "bench/1.0")
		w := &response{header: http.Header{}}
		return func() { handler.ServeHTTP(w, r) }, func() {}
	}
}

var hello = []byte("hello\n")

// response is a ResponseWriter that keeps nothing, so that only the allocations of the middleware count.
type response struct{ header http.Header }

func (r *response) Header() http.Header         { return r.header }
func (r *response) Write(p []byte) (int, error) { return len(p), nil }
func (r *response) WriteHeader(int)             {}

// discard is io.Discard with another type: slog treats the original as a logger that is off.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
