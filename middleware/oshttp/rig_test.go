package oshttp_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log/logtest"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// rig is a pipeline in memory, and the servers that feed it.
type rig struct {
	t      *testing.T
	spans  *tracetest.SpanRecorder
	reader *sdkmetric.ManualReader
	events *logtest.Recorder
	lines  *syncBuffer

	serving sync.WaitGroup
}

func newRig(t *testing.T) *rig {
	return &rig{
		t:      t,
		spans:  tracetest.NewSpanRecorder(),
		reader: sdkmetric.NewManualReader(),
		events: logtest.NewRecorder(),
		lines:  &syncBuffer{},
	}
}

func (g *rig) providers() telemetry.Providers {
	plain := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "duration" || a.Key == "exception.stacktrace" {
			return slog.Attr{}
		}
		return a
	}
	return telemetry.Providers{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(g.spans)),
		MeterProvider:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(g.reader)),
		LoggerProvider: g.events,
		Propagator:     propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
		Logger:         slog.New(slog.NewTextHandler(g.lines, &slog.HandlerOptions{ReplaceAttr: plain})),
	}
}

// handler wraps next, with the rig's providers.
func (g *rig) handler(next http.Handler, opts oshttp.HandlerOptions) http.Handler {
	opts.Telemetry = g.providers()
	return oshttp.NewHandler(next, &opts)
}

// serve starts a server of h on loopback; wait returns once all requests that reached it are over.
func (g *rig) serve(h http.Handler, change ...func(*httptest.Server)) *httptest.Server {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.serving.Add(1)
		defer g.serving.Done()
		h.ServeHTTP(w, r)
	}))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	for _, f := range change {
		f(srv)
	}
	if srv.EnableHTTP2 {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	g.t.Cleanup(srv.Close)
	return srv
}

func (g *rig) wait() { g.serving.Wait() }

// span returns the only ended span.
func (g *rig) span() sdktrace.ReadOnlySpan {
	g.t.Helper()
	spans := g.spans.Ended()
	if len(spans) != 1 || len(g.spans.Started()) != 1 {
		g.t.Fatalf("%d spans started and %d ended, want 1", len(g.spans.Started()), len(spans))
	}
	return spans[0]
}

// metrics returns the data of the instruments, by name.
func (g *rig) metrics() map[string]metricdata.Metrics {
	g.t.Helper()
	var rm metricdata.ResourceMetrics
	if err := g.reader.Collect(context.Background(), &rm); err != nil {
		g.t.Fatal(err)
	}
	found := map[string]metricdata.Metrics{}
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			found[m.Name] = m
		}
	}
	return found
}

// durations returns the points of a histogram of seconds.
func (g *rig) durations(name string) []metricdata.HistogramDataPoint[float64] {
	g.t.Helper()
	data, ok := g.metrics()[name].Data.(metricdata.Histogram[float64])
	if !ok {
		g.t.Fatalf("no histogram %s", name)
	}
	return data.DataPoints
}

// duration returns the attributes of the only series of a histogram of seconds, with one measurement.
func (g *rig) duration(name string) map[string]string {
	g.t.Helper()
	points := g.durations(name)
	if len(points) != 1 || points[0].Count != 1 {
		g.t.Fatalf("%s has %d series, want one with one measurement: %v", name, len(points), points)
	}
	return plain(points[0].Attributes.ToSlice())
}

// active returns the sum over all series of an up-down counter.
func (g *rig) active(name string) int64 {
	g.t.Helper()
	data, ok := g.metrics()[name].Data.(metricdata.Sum[int64])
	if !ok {
		g.t.Fatalf("no counter %s", name)
	}
	var sum int64
	for _, p := range data.DataPoints {
		sum += p.Value
	}
	return sum
}

// happened returns the emitted events.
func (g *rig) happened() []logtest.Record {
	var all []logtest.Record
	for _, records := range g.events.Result() {
		all = append(all, records...)
	}
	return all
}

// plain returns attributes as text, by key.
func plain(attrs []attribute.KeyValue) map[string]string {
	m := map[string]string{}
	for _, a := range attrs {
		m[string(a.Key)] = a.Value.String()
	}
	return m
}

// sameAttributes compares attributes; "*" in want matches any value.
func sameAttributes(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if v, ok := got[key]; !ok {
			t.Errorf("%s lacks %s, want %q", what, key, want[key])
		} else if want[key] != "*" && v != want[key] {
			t.Errorf("%s has %s = %q, want %q", what, key, v, want[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[key]; !ok {
			t.Errorf("%s has %s = %q, want no such attribute", what, key, got[key])
		}
	}
}

// fetch sends a request and returns the answer and its body.
func fetch(t *testing.T, client *http.Client, r *http.Request) (*http.Response, string) {
	t.Helper()
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func newRequest(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// syncBuffer is a bytes.Buffer that servers and tests may share.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.TrimSpace(b.buf.String())
}
