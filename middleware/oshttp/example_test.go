package oshttp_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// printer is an exporter that prints the names of spans; services use exporters.Setup.
type printer struct{}

func (printer) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, s := range spans {
		fmt.Println(s.SpanKind(), "span:", s.Name())
	}
	return nil
}

func (printer) Shutdown(context.Context) error { return nil }

// printed returns Providers that print spans and log lines.
func printed() telemetry.Providers {
	timeless := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "duration" {
			return slog.Attr{}
		}
		return a
	}
	p := telemetry.Off()
	p.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSyncer(printer{}))
	p.Logger = slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: timeless}))
	return p
}

func ExampleNewHandler() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /users/{id}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "user %s", r.PathValue("id"))
	})
	handler := oshttp.NewHandler(mux, &oshttp.HandlerOptions{Telemetry: printed(), AccessLog: true})

	for _, path := range []string{"/users/42", "/nowhere"} {
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
	}
	// Output:
	// level=INFO msg="GET /users/{id}" url.path=/users/42 http.response.status_code=200 http.response.body.size=7 client.address=192.0.2.1
	// server span: GET /users/{id}
	// level=WARN msg=GET url.path=/nowhere http.response.status_code=404 http.response.body.size=19 client.address=192.0.2.1
	// server span: GET
}

func ExampleNewTransport() {
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println("traceparent arrived:", r.Header.Get("Traceparent") != "")
	}))
	defer srv.Close()
	p := printed()
	p.Propagator = sdkProviders().Propagator

	client := &http.Client{Transport: oshttp.NewTransport(nil, &oshttp.TransportOptions{
		Telemetry: p,
		Template:  func(*http.Request) string { return "/orders/{id}" },
	})}
	res, err := client.Get(srv.URL + "/orders/7")
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = res.Body.Close() // the span ends here
	// Output:
	// traceparent arrived: true
	// client span: GET /orders/{id}
}

// A panic becomes a 500.
func ExampleNewHandler_recovery() {
	handler := oshttp.NewHandler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic("no such luck")
	}), &oshttp.HandlerOptions{Telemetry: telemetry.Off()})

	rec := httptest.NewRecorder()
	handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Print(rec.Code, " ", rec.Body)
	// Output: 500 Internal Server Error
}

// Routers other than http.ServeMux report the route through the Route option. The middleware runs inside chi, where its routing context
// is available.
func ExampleHandlerOptions_route() {
	opts := &oshttp.HandlerOptions{
		Telemetry: printed(),
		Route:     func(r *http.Request) string { return chi.RouteContext(r.Context()).RoutePattern() },
	}
	router := chi.NewRouter()
	router.Use(func(next http.Handler) http.Handler { return oshttp.NewHandler(next, opts) })
	router.Get("/shops/{shop}/carts/{cart}", func(http.ResponseWriter, *http.Request) {})

	router.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/shops/1/carts/2", nil))
	// Output: server span: GET /shops/{shop}/carts/{cart}
}

// Behind http.StripPrefix the inner router works on a request that the middleware never sees, so the handler sets its route.
func ExampleSetRoute() {
	inner := http.NewServeMux()
	inner.HandleFunc("GET /items/{id}", func(w http.ResponseWriter, _ *http.Request) {
		oshttp.SetRoute(w, "/api/items/{id}")
	})
	mux := http.NewServeMux()
	mux.Handle("/api/", http.StripPrefix("/api", inner))

	handler := oshttp.NewHandler(mux, &oshttp.HandlerOptions{Telemetry: printed()})
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/api/items/9", nil))
	// Output: server span: GET /api/items/{id}
}

func ExampleHandlerOptions_limits() {
	handler := oshttp.NewHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done() // slower than any caller waits
	}), &oshttp.HandlerOptions{
		Telemetry: telemetry.Off(), Timeout: time.Minute, DeadlineHeader: oshttp.DefaultDeadlineHeader, MaxBodyBytes: 10, MaxConcurrent: 100,
	})

	for _, body := range []string{"short", "longer than ten bytes"} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set(oshttp.DefaultDeadlineHeader, "5") // the caller has five milliseconds left
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		fmt.Print(rec.Code, " ", rec.Body)
	}
	// Output:
	// 504 Gateway Timeout
	// 413 Request Entity Too Large
}

// Streams pass through: the handler finds its Flusher, and nothing is delayed.
func ExampleNewHandler_serverSentEvents() {
	srv := httptest.NewServer(oshttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 2 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
		}
	}), &oshttp.HandlerOptions{Telemetry: telemetry.Off()}))
	defer srv.Close()

	res, err := http.Get(srv.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if lines.Text() != "" {
			fmt.Println(lines.Text())
		}
	}
	// Output:
	// data: 0
	// data: 1
}
