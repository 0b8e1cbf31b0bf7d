package telemetrytest_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/telemetry/telemetrytest"
)

const scope = "example.com/app"

func TestSpans(t *testing.T) {
	recorded := telemetrytest.New()
	tracer := recorded.Providers.Tracer(scope)
	ctx, parent := tracer.Start(t.Context(), "parent")
	_, child := tracer.Start(ctx, "child", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attribute.Int("n", 7)))
	child.AddEvent("retry", trace.WithAttributes(attribute.String("why", "busy")))
	child.SetStatus(codes.Error, "refused")
	if n := recorded.Running(); n != 2 {
		t.Errorf("%d spans are running, want 2", n)
	}
	child.End()
	parent.End()
	spans := recorded.Spans()
	if len(spans) != 2 || recorded.Running() != 0 {
		t.Fatalf("%d spans have ended, %d are running", len(spans), recorded.Running())
	}
	got := spans[0]
	if got.Name != "child" || got.Kind != trace.SpanKindClient || got.Status.Code != codes.Error || got.Status.Description != "refused" || got.Scope != scope {
		t.Errorf("got %+v", got)
	}
	if got.Parent.SpanID() != spans[1].Context.SpanID() || got.End.Before(got.Start) {
		t.Errorf("its parent is %v, and the other span is %v", got.Parent.SpanID(), spans[1].Context.SpanID())
	}
	if got.Attributes["n"] != int64(7) || len(got.Events) != 1 || got.Events[0].Name != "retry" || got.Events[0].Attributes["why"] != "busy" {
		t.Errorf("attributes %v, events %v", got.Attributes, got.Events)
	}
}

func TestEvents(t *testing.T) {
	recorded := telemetrytest.New()
	ctx, span := recorded.Providers.Tracer(scope).Start(t.Context(), "call")
	var r log.Record
	r.SetEventName("app.lost")
	r.SetSeverity(log.SeverityWarn)
	r.SetBody(attribute.StringValue("the connection is lost"))
	r.AddAttributes(attribute.String("peer", "a"), attribute.Bool("again", true))
	recorded.Providers.EventLogger(scope).Emit(ctx, r)
	events := recorded.Events()
	if len(events) != 1 {
		t.Fatalf("got %v", events)
	}
	got := events[0]
	if got.Name != "app.lost" || got.Severity != log.SeverityWarn || got.Body != "the connection is lost" || got.Scope != scope {
		t.Errorf("got %+v", got)
	}
	if want := map[string]any{"peer": "a", "again": true}; !maps.Equal(got.Attributes, want) {
		t.Errorf("attributes %v, want %v", got.Attributes, want)
	}
	if at := span.SpanContext(); got.TraceID != at.TraceID() || got.SpanID != at.SpanID() {
		t.Errorf("it is of span %v, want %v", got.SpanID, at.SpanID())
	}
}

func TestPoints(t *testing.T) {
	recorded := telemetrytest.New()
	meter := recorded.Providers.Meter(scope)
	calls, err1 := meter.Int64Counter("calls", metric.WithUnit("{call}"))
	took, err2 := meter.Float64Histogram("took", metric.WithUnit("s"))
	level, err3 := meter.Int64Gauge("level")
	_, err4 := meter.Float64ObservableUpDownCounter("open", metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
		o.Observe(-2)
		return nil
	}))
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	calls.Add(t.Context(), 2, metric.WithAttributes(attribute.String("op", "put")))
	calls.Add(t.Context(), 1, metric.WithAttributes(attribute.String("op", "get")))
	took.Record(t.Context(), 0.5)
	took.Record(t.Context(), 1)
	level.Record(t.Context(), 3)
	points, err := recorded.Points(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		text  string
		value float64
		count uint64
	}{{"calls {call} op=get", 1, 0}, {"calls {call} op=put", 2, 0}, {"level  ", 3, 0}, {"open  ", -2, 0}, {"took s ", 1.5, 2}}
	if len(points) != len(want) {
		t.Fatalf("got %v", points)
	}
	for i, p := range points {
		if p.String() != want[i].text || p.Value != want[i].value || p.Count != want[i].count || p.Scope != scope {
			t.Errorf("point %q is %v, count %d, of %s; want %+v", p, p.Value, p.Count, p.Scope, want[i])
		}
	}
}

func TestPointsFail(t *testing.T) {
	recorded := telemetrytest.New()
	broken := errors.New("the sensor is broken")
	_, err := recorded.Providers.Meter(scope).Int64ObservableGauge("heat", metric.WithInt64Callback(func(context.Context, metric.Int64Observer) error { return broken }))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := recorded.Points(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of the callback", err)
	}
}

// TestLines checks every rule for handlers with testing/slogtest.
func TestLines(t *testing.T) {
	var recorded *telemetrytest.Recorder
	slogtest.Run(t, func(*testing.T) slog.Handler {
		recorded = telemetrytest.New()
		return recorded.Providers.Logger.Handler()
	}, func(*testing.T) map[string]any {
		line := recorded.Lines()[0]
		all := map[string]any{slog.LevelKey: line.Level, slog.MessageKey: line.Message}
		if !line.Time.IsZero() {
			all[slog.TimeKey] = line.Time
		}
		for name, value := range line.Attributes {
			nest(all, strings.Split(name, "."), value)
		}
		return all
	})
}

// nest puts a value into the maps of its groups.
func nest(into map[string]any, names []string, value any) {
	if len(names) == 1 {
		into[names[0]] = value
		return
	}
	group, ok := into[names[0]].(map[string]any)
	if !ok {
		group = map[string]any{}
		into[names[0]] = group
	}
	nest(group, names[1:], value)
}

func TestPropagates(t *testing.T) {
	recorded := telemetrytest.New()
	ctx, _ := recorded.Providers.Tracer(scope).Start(t.Context(), "call")
	headers := propagation.MapCarrier{}
	recorded.Providers.TextMapPropagator().Inject(ctx, headers)
	if headers["traceparent"] == "" {
		t.Errorf("headers %v have no trace context", headers)
	}
}

// TestConcurrently checks that returned values do not change while more is recorded.
func TestConcurrently(t *testing.T) {
	recorded := telemetrytest.New()
	const goroutines, each = 4, 100
	var group sync.WaitGroup
	for range goroutines {
		group.Go(func() {
			for range each {
				_, span := recorded.Providers.Tracer(scope).Start(t.Context(), "call")
				span.End()
				recorded.Providers.Logger.Info("called")
				before := recorded.Spans()
				if slices.ContainsFunc(before, func(s telemetrytest.Span) bool { return s.Name != "call" }) {
					t.Error("a span is torn")
				}
			}
		})
	}
	group.Wait()
	if spans, lines := len(recorded.Spans()), len(recorded.Lines()); spans != goroutines*each || lines != spans {
		t.Errorf("%d spans and %d lines, want %d of each", spans, lines, goroutines*each)
	}
}

// TestInlineGroup logs a group without a name below an open group: its members have the name of the open group alone.
func TestInlineGroup(t *testing.T) {
	recorded := telemetrytest.New()
	inline := slog.Group("", slog.Int("x", 1))
	recorded.Providers.Logger.WithGroup("g").With(inline).Info("below a group", inline, slog.Int("y", 2))
	recorded.Providers.Logger.With(inline).Info("at the top")
	for i, want := range []map[string]any{{"g.x": int64(1), "g.y": int64(2)}, {"x": int64(1)}} {
		if got := recorded.Lines()[i].Attributes; !maps.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
}
