package show

import (
	"context"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func at(ms int) trace.SpanEventOption {
	return trace.WithTimestamp(noon.Add(time.Duration(ms) * time.Millisecond))
}

func named(service string) *resource.Resource {
	return resource.NewSchemaless(attribute.String("service.name", service))
}

// twoServices records one trace across two services. It takes ms milliseconds, and ends with an error if failed is set.
func twoServices(r *Recorder, ms int, failed bool) {
	front := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r), sdktrace.WithResource(named("front"))).Tracer("test")
	back := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r), sdktrace.WithResource(named("back"))).Tracer("test")
	ctx, root := front.Start(context.Background(), "GET /", at(0), trace.WithSpanKind(trace.SpanKindServer))
	call, client := front.Start(ctx, "GET", at(0), trace.WithSpanKind(trace.SpanKindClient))
	_, server := back.Start(call, "GET /stock", at(ms/4), trace.WithSpanKind(trace.SpanKindServer))
	slog.New(r.Sink("back")).With("a", 1).WithGroup("g").InfoContext(trace.ContextWithSpan(ctx, server), "counted", "b", "two words")
	if failed {
		server.SetStatus(codes.Error, "broken")
		server.SetAttributes(attribute.Int("http.response.status_code", 500), attribute.String("error.type", "500"))
	}
	server.End(at(ms / 2))
	client.End(at(ms / 2))
	_, render := front.Start(ctx, "render", at(ms/2))
	render.End(at(ms))
	root.End(at(ms))
}

func TestTree(t *testing.T) {
	r := NewRecorder()
	twoServices(r, 100, true)
	var out strings.Builder
	if err := r.Worst().Tree(&out); err != nil {
		t.Fatal(err)
	}
	const want = `
  GET /             front  server  ▕████████████████████████████████▏   100.0ms  ok
  ├─ GET            front  client  ▕████████████████                ▏    50.0ms  ok
  │  └─ GET /stock  back   server  ▕        ████████                ▏    25.0ms  ERROR 500
  └─ render         front          ▕                ████████████████▏    50.0ms  ok
`
	got := out.String()
	if !strings.HasPrefix(got, want[1:]) {
		t.Errorf("got\n%s\nwant%s", got, want)
	}
	if !strings.Contains(got, `INFO   back   counted  a=1 g.b="two words"`) {
		t.Errorf("the log line is missing: %s", got)
	}
}

func TestTreeOfAnIncompleteTrace(t *testing.T) {
	r := NewRecorder()
	twoServices(r, 100, false)
	whole := r.Worst()
	lost := &Trace{ID: whole.ID}
	for _, s := range whole.Spans {
		if s.Name() != "GET" { // the parent of GET /stock
			lost.Spans = append(lost.Spans, s)
		}
	}
	var out strings.Builder
	if err := lost.Tree(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\n  GET /stock ", "  GET / ", "└─ render"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

func TestWorst(t *testing.T) {
	r := NewRecorder()
	if r.Worst() != nil {
		t.Error("an empty recorder has a worst trace")
	}
	twoServices(r, 100, false)
	twoServices(r, 300, false)
	if got := r.Worst().duration(); got != 300*time.Millisecond {
		t.Errorf("without failures the slowest is worst, got %v", got)
	}
	twoServices(r, 50, true)
	if got := r.Worst().duration(); got != 50*time.Millisecond {
		t.Errorf("the failed one is worst, got %v", got)
	}
	for range 2 * maxTraces {
		twoServices(r, 10, false)
	}
	if got := r.Worst(); got.duration() != 50*time.Millisecond || len(got.Spans) != 4 {
		t.Errorf("the worst trace was forgotten, got %v with %d spans", got.duration(), len(got.Spans))
	}
	if len(r.traces) > maxTraces || len(r.order) > maxTraces {
		t.Errorf("%d traces kept, the limit is %d", len(r.traces), maxTraces)
	}
}

func TestOneTraceIsBounded(t *testing.T) {
	r := NewRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r)).Tracer("test")
	logger := slog.New(r.Sink("front"))
	ctx, root := tracer.Start(context.Background(), "root")
	for range 3 * maxSpans {
		_, s := tracer.Start(ctx, "child")
		s.End()
		logger.InfoContext(ctx, "again")
	}
	root.End()
	if got := r.Worst(); len(got.Spans) != maxSpans || len(got.Lines) != maxLines {
		t.Errorf("kept %d spans and %d lines", len(got.Spans), len(got.Lines))
	}
}

func TestLinesLeaveOutWhatTheTreeShows(t *testing.T) {
	line := Line{Attrs: []attribute.KeyValue{
		attribute.String("exception.message", "out of range"), attribute.String("exception.stacktrace", "main.go:1"),
		attribute.String("logger", "a/package"), attribute.String("http.route", "/p"), attribute.String("http.request.method", "GET"),
	}}
	span := []attribute.KeyValue{attribute.String("http.route", "/p"), attribute.String("http.request.method", "POST")}
	if got, want := line.text(span), `exception.message="out of range" http.request.method=GET`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestSinkIsAHandler runs testing/slogtest on the sink. It converts the flat attributes of the sink to groups.
func TestSinkIsAHandler(t *testing.T) {
	var r *Recorder
	ctx := trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}}))
	slogtest.Run(t, func(*testing.T) slog.Handler {
		r = NewRecorder()
		return traced{r.Sink("front"), ctx}
	}, func(*testing.T) map[string]any {
		line := r.traces[trace.TraceID{1}].Lines[0]
		all := map[string]any{"level": line.Level, "msg": line.Message}
		if !line.Time.IsZero() {
			all["time"] = line.Time
		}
		for _, kv := range line.Attrs {
			unfold(all, strings.Split(string(kv.Key), "."), kv.Value.AsString())
		}
		return all
	})
}

// traced is a handler that adds the same trace to every record.
type traced struct {
	slog.Handler
	ctx context.Context
}

func (h traced) Handle(_ context.Context, r slog.Record) error { return h.Handler.Handle(h.ctx, r) }
func (h traced) WithAttrs(a []slog.Attr) slog.Handler          { return traced{h.Handler.WithAttrs(a), h.ctx} }
func (h traced) WithGroup(n string) slog.Handler               { return traced{h.Handler.WithGroup(n), h.ctx} }

func unfold(into map[string]any, path []string, value string) {
	for len(path) > 1 {
		if into[path[0]] == nil {
			into[path[0]] = map[string]any{}
		}
		into, path = into[path[0]].(map[string]any), path[1:]
	}
	into[path[0]] = value
}

func TestRates(t *testing.T) {
	var rates Rates
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(rates.Reader()), sdkmetric.WithResource(named("front")))
	h, err := mp.Meter("test").Float64Histogram("http.server.request.duration", metric.WithExplicitBucketBoundaries(1, 2))
	if err != nil {
		t.Fatal(err)
	}
	route := func(status int, extra ...attribute.KeyValue) metric.RecordOption {
		return metric.WithAttributes(append(extra, attribute.String("http.request.method", "GET"), attribute.String("http.route", "/p/{id}"), attribute.Int("http.response.status_code", status))...)
	}
	for ms := 1; ms <= 90; ms++ {
		h.Record(t.Context(), float64(ms)/1000, route(200))
	}
	for ms := 91; ms <= 100; ms++ {
		h.Record(t.Context(), float64(ms)/1000, route(500, attribute.String("error.type", "500")))
	}
	routes, err := rates.Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(routes) != 1 {
		t.Fatalf("want one route, got %d", len(routes))
	}
	r := routes[0]
	if r.Service != "front" || r.Name != "GET /p/{id}" || r.Requests != 100 || r.Errors != 10 {
		t.Errorf("got %+v", r)
	}
	for q, want := range map[float64]float64{0.5: 0.050, 0.95: 0.095, 0.99: 0.099, 1: 0.100} {
		if got := r.Quantile(q).Seconds(); math.Abs(got-want)/want > 0.05 {
			t.Errorf("quantile %v is %v, want about %v", q, got, want)
		}
	}
	var out strings.Builder
	if err := WriteRates(&out, routes, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "GET /p/{id}       100        10.0      10") {
		t.Errorf("got\n%s", out.String())
	}
}
