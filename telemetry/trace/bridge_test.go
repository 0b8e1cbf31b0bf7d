package trace_test

import (
	"context"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/telemetry/trace"
)

// bridged emits a record in a span and returns the span's events.
func bridged(t *testing.T, emit func(context.Context, log.Logger)) ([]sdktrace.Event, *recorded) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	records := &recorded{}
	lp := sdklog.NewLoggerProvider(sdklog.WithProcessor(trace.NewEventBridge()), sdklog.WithProcessor(records))
	ctx, span := tp.Tracer("test").Start(t.Context(), "span")
	emit(ctx, lp.Logger("test"))
	span.End()
	return spans.Ended()[0].Events(), records
}

func event(name string) log.Record {
	var r log.Record
	r.SetEventName(name)
	r.SetTimestamp(time.Unix(1700000000, 0))
	r.AddAttributes(attribute.String("key", "value"), attribute.Int("n", 3))
	return r
}

func TestEventBridgeCopiesTheEvent(t *testing.T) {
	events, records := bridged(t, func(ctx context.Context, l log.Logger) { l.Emit(ctx, event("order.placed")) })
	if len(events) != 1 {
		t.Fatalf("the span has %d events, want 1", len(events))
	}
	e := events[0]
	if e.Name != "order.placed" || !e.Time.Equal(time.Unix(1700000000, 0)) {
		t.Errorf("the span event is %q at %v, want that of the record", e.Name, e.Time)
	}
	got, want := attribute.NewSet(e.Attributes...), attribute.NewSet(attribute.String("key", "value"), attribute.Int("n", 3))
	if !got.Equals(&want) {
		t.Errorf("the span event has the attributes %v, want %v", e.Attributes, want.ToSlice())
	}
	equal(t, "records that went on", records.lines("key"), []string{"order.placed value"})
}

func TestEventBridgeTakesTheObservedTime(t *testing.T) {
	observed := time.Unix(1600000000, 0)
	events, _ := bridged(t, func(ctx context.Context, l log.Logger) {
		var r log.Record
		r.SetEventName("order.placed")
		r.SetObservedTimestamp(observed)
		l.Emit(ctx, r)
	})
	if len(events) != 1 || !events[0].Time.Equal(observed) {
		t.Errorf("the span's events are %v, want one at %v", events, observed)
	}
}

func TestEventBridgeLeavesOthersAlone(t *testing.T) {
	for name, emit := range map[string]func(context.Context, log.Logger){
		"no event name": func(ctx context.Context, l log.Logger) { l.Emit(ctx, event("")) },
		"no span":       func(_ context.Context, l log.Logger) { l.Emit(context.Background(), event("e")) },
		"a span that has ended": func(ctx context.Context, l log.Logger) {
			oteltrace.SpanFromContext(ctx).End()
			l.Emit(ctx, event("e"))
		},
		"a span that is not recorded": func(ctx context.Context, l log.Logger) {
			sc := oteltrace.SpanContextFromContext(ctx)
			l.Emit(oteltrace.ContextWithSpanContext(ctx, sc), event("e"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			events, records := bridged(t, emit)
			if len(events) != 0 {
				t.Errorf("the span has the events %v, want none", events)
			}
			if got := len(records.records); got != 1 {
				t.Errorf("%d records went on, want 1", got)
			}
		})
	}
}

// The ids of a record may differ from the span's if a processor before the bridge has changed them, or if the
// bridge is called directly, as here.
func TestEventBridgeWantsTheSameSpan(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	outer, parent := tp.Tracer("test").Start(t.Context(), "outer")
	inner, child := tp.Tracer("test").Start(outer, "inner")

	var record sdklog.Record
	lp := sdklog.NewLoggerProvider(sdklog.WithProcessor(capture{&record}))
	lp.Logger("test").Emit(outer, event("e"))
	if err := trace.NewEventBridge().OnEmit(inner, &record); err != nil {
		t.Fatal(err)
	}
	child.End()
	parent.End()
	for _, s := range spans.Ended() {
		if len(s.Events()) != 0 {
			t.Errorf("span %s has the events %v, want none", s.Name(), s.Events())
		}
	}
}

func TestEventBridgeEnabledOnlyForEvents(t *testing.T) {
	lp := sdklog.NewLoggerProvider(sdklog.WithProcessor(trace.NewEventBridge()))
	tp := sdktrace.NewTracerProvider()
	ctx, span := tp.Tracer("test").Start(t.Context(), "span")
	l := lp.Logger("test")
	for _, test := range []struct {
		name string
		want bool
	}{{"order.placed", true}, {"", false}} {
		if got := l.Enabled(ctx, log.EnabledParameters{EventName: test.name}); got != test.want {
			t.Errorf("Enabled for the event name %q = %v, want %v", test.name, got, test.want)
		}
	}
	span.End()
	if l.Enabled(ctx, log.EnabledParameters{EventName: "order.placed"}) {
		t.Error("Enabled although the span has ended")
	}
}

// capture keeps the last record.
type capture struct{ to *sdklog.Record }

func (capture) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }
func (c capture) OnEmit(_ context.Context, r *sdklog.Record) error {
	*c.to = r.Clone()
	return nil
}
func (capture) Shutdown(context.Context) error   { return nil }
func (capture) ForceFlush(context.Context) error { return nil }
