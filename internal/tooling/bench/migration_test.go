package bench

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// migrationTables are the tables of docs/guides/from-otelhttp-otelgrpc.md; a test of internal/tooling/arch compares them. The guide itself
// is outside this module, where the go command does not notice that a file has changed.
const migrationTables = "testdata/migration.md"

// TestMigrationTables observes the same requests with the usual instrumentation and with ours. It compares the differences with the tables
// of the guide.
func TestMigrationTables(t *testing.T) {
	tables, err := os.ReadFile(migrationTables)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		subject, theirs, ours string
		observe               func(*testing.T, *witness, bool)
	}{
		{"HTTP server", "otelhttp", "oshttp", observeHTTPServer},
		{"HTTP client", "otelhttp", "oshttp", observeHTTPClient},
		{"gRPC server", "otelgrpc", "osgrpc", observeGRPCServer},
		{"gRPC client", "otelgrpc", "osgrpc", observeGRPCClient},
	} {
		t.Run(c.subject, func(t *testing.T) {
			theirs, ours := newWitness(), newWitness()
			c.observe(t, theirs, false)
			c.observe(t, ours, true)
			table := differences(c.subject, c.theirs, c.ours, theirs.seen(t), ours.seen(t))
			if !strings.Contains(string(tables), table) {
				t.Errorf("%s does not have this table; copy it there and to the guide:\n\n%s", migrationTables, table)
			}
		})
	}
}

// TestMigrationOfPanics: our instrumentation measures a request whose handler panics, and otelhttp does not.
func TestMigrationOfPanics(t *testing.T) {
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	theirs, ours := newWitness(), newWitness()
	for _, wrapped := range []http.Handler{
		otelhttp.NewHandler(handler, "", otelhttp.WithTracerProvider(theirs.p.TracerProvider), otelhttp.WithMeterProvider(theirs.p.MeterProvider)),
		oshttp.NewHandler(handler, &oshttp.HandlerOptions{Telemetry: ours.p}),
	} {
		func() {
			defer func() { _ = recover() }() // as net/http does
			wrapped.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		}()
	}
	if seen := theirs.seen(t); len(seen["http.server.request.duration"]) != 0 {
		t.Errorf("otelhttp measures it: %v", seen)
	}
	if seen := ours.seen(t); seen["http.server.request.duration"]["error.type"] != "aborted" {
		t.Errorf("oshttp does not measure it: %v", seen)
	}
}

// witness records what an instrumentation emits.
type witness struct {
	p      telemetry.Providers
	spans  *tracetest.SpanRecorder
	reader *sdkmetric.ManualReader
}

func newWitness() *witness {
	w := &witness{spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader(), p: telemetry.Off()}
	w.p.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(w.spans))
	w.p.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(w.reader))
	w.p.Propagator = propagation.TraceContext{}
	return w
}

// seen returns the values of attributes by their place: the spans, or a metric by its name.
func (w *witness) seen(t *testing.T) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	note := func(on, key, value string) {
		if all[on] == nil {
			all[on] = map[string]string{}
		}
		values := strings.Split(all[on][key], ", ")
		if !slices.Contains(values, value) {
			values = append(values, value)
		}
		slices.Sort(values)
		all[on][key] = strings.TrimPrefix(strings.Join(values, ", "), ", ")
	}
	for _, span := range w.spans.Ended() {
		note("span", "(name)", span.Name())
		for _, a := range span.Attributes() {
			note("span", string(a.Key), value(a))
		}
	}
	var collected metricdata.ResourceMetrics
	if err := w.reader.Collect(context.Background(), &collected); err != nil {
		t.Fatal(err)
	}
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			note(m.Name, "(metric)", "yes")
			for _, set := range attributeSets(m.Data) {
				for _, a := range set.ToSlice() {
					note(m.Name, string(a.Key), value(a))
				}
			}
		}
	}
	return all
}

func attributeSets(data metricdata.Aggregation) []attribute.Set {
	var sets []attribute.Set
	switch d := data.(type) {
	case metricdata.Histogram[float64]:
		for _, p := range d.DataPoints {
			sets = append(sets, p.Attributes)
		}
	case metricdata.Histogram[int64]:
		for _, p := range d.DataPoints {
			sets = append(sets, p.Attributes)
		}
	}
	return sets
}

// value returns the value of an attribute. For ports and URLs, which vary, it returns only that there is one.
func value(a attribute.KeyValue) string {
	if strings.HasSuffix(string(a.Key), ".port") || a.Key == "url.full" {
		return "yes"
	}
	return a.Value.String()
}

// differences returns a table of the differences.
func differences(subject, theirs, ours string, a, b map[string]map[string]string) string {
	var table strings.Builder
	fmt.Fprintf(&table, "| %s | on | %s | %s |\n|---|---|---|---|\n", subject, theirs, ours)
	for _, on := range union(a, b) {
		if a[on]["(metric)"] != b[on]["(metric)"] {
			fmt.Fprintf(&table, "| (the metric) | `%s` | %s | %s |\n", on, cell(a[on]["(metric)"]), cell(b[on]["(metric)"]))
			continue
		}
		for _, key := range union(a[on], b[on]) {
			if a[on][key] != b[on][key] {
				fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", key, where(on), cell(a[on][key]), cell(b[on][key]))
			}
		}
	}
	return strings.ReplaceAll(table.String(), "`(name)`", "(the name)")
}

func union[V any](a, b map[string]V) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

func where(on string) string {
	if on == "span" {
		return "span"
	}
	return "`" + on + "`"
}

func cell(value string) string {
	switch value {
	case "":
		return "–"
	case "yes":
		return "yes"
	}
	return "`" + strings.ReplaceAll(value, ", ", "`, `") + "`"
}

// observeHTTPServer serves one request with status 200 and one with 500.
func observeHTTPServer(t *testing.T, w *witness, ours bool) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /users/{id}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	})
	mux.HandleFunc("POST /fail/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	tp, mp, providers := w.p.TracerProvider, w.p.MeterProvider, w.p
	handler := otelhttp.NewHandler(mux, "orders",
		otelhttp.WithTracerProvider(tp), otelhttp.WithMeterProvider(mp))
	if ours {
		handler = oshttp.NewHandler(mux, &oshttp.HandlerOptions{Telemetry: providers})
	}
	for _, target := range []string{"/fail/42?page=2", "/users/42?page=2"} {
		r := httptest.NewRequest(http.MethodPost, target, strings.NewReader("body"))
		r.Header.Set("User-Agent", "guide/1.0")
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		handler.ServeHTTP(httptest.NewRecorder(), r)
	}
}

// observeHTTPClient makes a request with status 200, one with 404, and one that gets no answer.
func observeHTTPClient(t *testing.T, w *witness, ours bool) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/missing" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	tp, mp, providers := w.p.TracerProvider, w.p.MeterProvider, w.p
	client := &http.Client{Transport: otelhttp.NewTransport(nil,
		otelhttp.WithTracerProvider(tp), otelhttp.WithMeterProvider(mp))}
	if ours {
		client = &http.Client{Transport: oshttp.NewTransport(nil, &oshttp.TransportOptions{Telemetry: providers})}
	}
	for _, url := range []string{server.URL + "/missing", server.URL + "/", "http://127.0.0.1:1/"} {
		response, err := client.Post(url, "text/plain", strings.NewReader("body"))
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
	}
}

// failing is a service whose unary call fails.
type failing struct {
	testgrpc.UnimplementedTestServiceServer
}

func (failing) EmptyCall(context.Context, *testgrpc.Empty) (*testgrpc.Empty, error) {
	return &testgrpc.Empty{}, nil
}

func (failing) UnaryCall(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	return nil, status.Error(codes.Internal, "no such luck")
}

func observeGRPCServer(t *testing.T, w *witness, ours bool) {
	tp, mp, providers := w.p.TracerProvider, w.p.MeterProvider, w.p
	options := []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(tp), otelgrpc.WithMeterProvider(mp)))}
	if ours {
		options = osgrpc.ServerOptions(&osgrpc.Options{Telemetry: providers})
	}
	callGRPC(t, options, nil)
}

func observeGRPCClient(t *testing.T, w *witness, ours bool) {
	tp, mp, providers := w.p.TracerProvider, w.p.MeterProvider, w.p
	options := []grpc.DialOption{grpc.WithStatsHandler(otelgrpc.NewClientHandler(
		otelgrpc.WithTracerProvider(tp), otelgrpc.WithMeterProvider(mp)))}
	if ours {
		options = osgrpc.DialOptions(&osgrpc.Options{Telemetry: providers})
	}
	callGRPC(t, nil, options)
}

// callGRPC makes one call that fails and one that succeeds, over loopback.
func callGRPC(t *testing.T, server []grpc.ServerOption, client []grpc.DialOption) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(server...)
	testgrpc.RegisterTestServiceServer(s, failing{})
	go func() { _ = s.Serve(listener) }()
	conn, err := grpc.NewClient("dns:///localhost:"+fmt.Sprint(listener.Addr().(*net.TCPAddr).Port),
		append(client, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	service := testgrpc.NewTestServiceClient(conn)
	if _, err := service.UnaryCall(t.Context(), &testgrpc.SimpleRequest{}); status.Code(err) != codes.Internal {
		t.Errorf("the call that fails: %v", err)
	}
	if _, err := service.EmptyCall(t.Context(), &testgrpc.Empty{}); err != nil {
		t.Errorf("the call that succeeds: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	s.GracefulStop()
}
