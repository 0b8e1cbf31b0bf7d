package trace

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/trace"
)

// NewEventBridge returns a log processor that also adds OTel events as span events to the current span, for tools
// that look for them there. It follows the "Event to span event bridge" of the OpenTelemetry specification (logs SDK,
// Development). A log record becomes one span event if and only if it has an EventName, and the span in its context
// is recording and has the ids of the record. The span event has the record's name, time and attributes, but not its
// body and severity. The other processors receive the record unchanged.
//
// For records without an event name the bridge reports that it is not enabled, so plain logging costs no more.
func NewEventBridge() sdklog.Processor { return eventBridge{} }

type eventBridge struct{}

// Enabled reports whether an event of this name would become a span event, so that a caller need not build an unused
// record.
func (eventBridge) Enabled(ctx context.Context, p sdklog.EnabledParameters) bool {
	return p.EventName != "" && trace.SpanFromContext(ctx).IsRecording()
}

// OnEmit adds the span event.
func (eventBridge) OnEmit(ctx context.Context, r *sdklog.Record) error {
	if r.EventName() == "" || !r.TraceID().IsValid() || !r.SpanID().IsValid() {
		return nil
	}
	span := trace.SpanFromContext(ctx)
	sc := span.SpanContext()
	if !span.IsRecording() || sc.TraceID() != r.TraceID() || sc.SpanID() != r.SpanID() {
		return nil
	}
	attrs := make([]attribute.KeyValue, 0, r.AttributesLen())
	r.WalkAttributes(func(kv attribute.KeyValue) bool {
		attrs = append(attrs, kv)
		return true
	})
	opts := []trace.EventOption{trace.WithAttributes(attrs...)}
	if at := r.Timestamp(); !at.IsZero() {
		opts = append(opts, trace.WithTimestamp(at))
	} else if at := r.ObservedTimestamp(); !at.IsZero() {
		opts = append(opts, trace.WithTimestamp(at))
	}
	span.AddEvent(r.EventName(), opts...)
	return nil
}

// Shutdown does nothing: the bridge has no state.
func (eventBridge) Shutdown(context.Context) error { return nil }

// ForceFlush does nothing: OnEmit adds a span event at once.
func (eventBridge) ForceFlush(context.Context) error { return nil }
