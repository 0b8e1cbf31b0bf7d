package trace

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/trace"
)

// NewEventBridge returns a log processor that also shows OTel events as span events on the current span, for tools
// that look for them there. It follows the "Event to span event bridge" of the OpenTelemetry specification (logs SDK,
// Development): a log record becomes one span event if and only if it has an EventName, and the span in its context
// is recording and is the one whose ids the record carries. The span event has the record's name, time and
// attributes; body and severity have no place in it. The record itself goes on through the other processors
// unchanged.
//
// The bridge never keeps a logger enabled for records without an event name, so plain logging costs nothing more.
func NewEventBridge() sdklog.Processor { return eventBridge{} }

type eventBridge struct{}

// Enabled reports whether an event of this name would be shown: a Logger that learns from it that nobody listens need
// not build the record.
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

// Shutdown does nothing: the bridge holds nothing.
func (eventBridge) Shutdown(context.Context) error { return nil }

// ForceFlush does nothing: a span event is on its span as soon as it was emitted.
func (eventBridge) ForceFlush(context.Context) error { return nil }
