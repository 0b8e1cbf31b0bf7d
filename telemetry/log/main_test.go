package log

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/go-os/go-os/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// buffer is a bytes.Buffer that several goroutines may use.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *buffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Reset()
}

// lines parses JSON lines.
func lines(t *testing.T, text string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for line := range strings.Lines(text) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("not a line of JSON: %v: %s", err, line)
		}
		out = append(out, m)
	}
	return out
}

// line parses the only line of JSON.
func line(t *testing.T, text string) map[string]any {
	t.Helper()
	all := lines(t, text)
	if len(all) != 1 {
		t.Fatalf("got %d lines, want 1:\n%s", len(all), text)
	}
	return all[0]
}

// dig returns the value at a path of keys in nested maps, or nil.
func dig(m map[string]any, path ...string) any {
	var v any = m
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

const (
	testTraceID = "0af7651916cd43dd8448eb211c80319c"
	testSpanID  = "b7ad6b7169203331"
)

// spanContext returns a context within a span that another process records.
func spanContext(t testing.TB, flags trace.TraceFlags) context.Context {
	t.Helper()
	traceID, err := trace.TraceIDFromHex(testTraceID)
	if err != nil {
		t.Fatal(err)
	}
	spanID, err := trace.SpanIDFromHex(testSpanID)
	if err != nil {
		t.Fatal(err)
	}
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID, TraceFlags: flags})
	return trace.ContextWithSpanContext(t.Context(), sc)
}

// recording returns a context within a span that this process records.
func recording(t testing.TB) context.Context {
	t.Helper()
	tp := sdktrace.NewTracerProvider()
	t.Cleanup(func() {
		if err := tp.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	ctx, span := tp.Tracer("test").Start(t.Context(), "op")
	t.Cleanup(func() { span.End() })
	if !span.IsRecording() {
		t.Fatal("the span does not record")
	}
	return ctx
}

// meter returns providers with metrics alone, and a function that reads goos.log.dropped by "sink reason".
func meter(t *testing.T) (telemetry.Providers, func() map[string]int64) {
	t.Helper()
	reader := sdkmetric.NewManualReader()
	p := telemetry.Off()
	p.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	return p, func() map[string]int64 {
		var rm metricdata.ResourceMetrics
		if err := reader.Collect(context.Background(), &rm); err != nil {
			t.Fatal(err)
		}
		got := map[string]int64{}
		for _, sm := range rm.ScopeMetrics {
			for _, m := range sm.Metrics {
				if m.Name != "goos.log.dropped" || m.Unit != "{record}" || sm.Scope.Name != scopeName {
					t.Errorf("unexpected metric %q in %q of scope %q", m.Name, m.Unit, sm.Scope.Name)
				}
				for _, pt := range m.Data.(metricdata.Sum[int64]).DataPoints {
					got[value(pt.Attributes, "goos.log.sink")+" "+value(pt.Attributes, "goos.log.reason")] = pt.Value
				}
			}
		}
		return got
	}
}

func value(set attribute.Set, key attribute.Key) string {
	v, _ := set.Value(key)
	return v.AsString()
}

// until waits for a condition that another goroutine fulfils.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within 10 s: %s", what)
		case <-tick.C:
		}
	}
}

// handlerFunc is a sink made of one function, which receives all attributes in the record.
type handlerFunc func(ctx context.Context, r slog.Record) error

func (handlerFunc) Enabled(context.Context, slog.Level) bool { return true }

func (f handlerFunc) Handle(ctx context.Context, r slog.Record) error { return f(ctx, r) }

func (f handlerFunc) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handlerFunc(func(ctx context.Context, r slog.Record) error {
		r = r.Clone()
		r.AddAttrs(attrs...)
		return f(ctx, r)
	})
}

func (f handlerFunc) WithGroup(string) slog.Handler { return f }

func (handlerFunc) Name() string { return "func" }
