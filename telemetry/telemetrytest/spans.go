package telemetrytest

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Span is a span that has ended.
type Span struct {
	Name       string
	Kind       trace.SpanKind
	Attributes map[string]any
	Status     sdktrace.Status
	Events     []SpanEvent
	Links      []sdktrace.Link
	Start, End time.Time

	// Context identifies the span, and Parent its parent.
	Context, Parent trace.SpanContext
	// Scope is the name of the tracer: the import path of the package that started the span.
	Scope string
}

// SpanEvent is an event on a span.
type SpanEvent struct {
	Name       string
	Attributes map[string]any
	Time       time.Time
}

// spanProcessor records spans.
type spanProcessor struct{ *Recorder }

// OnStart implements sdktrace.SpanProcessor.
func (p spanProcessor) OnStart(context.Context, sdktrace.ReadWriteSpan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started++
}

// OnEnd implements sdktrace.SpanProcessor.
func (p spanProcessor) OnEnd(s sdktrace.ReadOnlySpan) {
	span := Span{
		Name: s.Name(), Kind: s.SpanKind(), Attributes: valuesOf(s.Attributes()), Status: s.Status(), Links: s.Links(),
		Start: s.StartTime(), End: s.EndTime(), Context: s.SpanContext(), Parent: s.Parent(), Scope: s.InstrumentationScope().Name,
	}
	for _, e := range s.Events() {
		span.Events = append(span.Events, SpanEvent{Name: e.Name, Attributes: valuesOf(e.Attributes), Time: e.Time})
	}
	record(p.Recorder, &p.spans, span)
}

// Shutdown implements sdktrace.SpanProcessor.
func (spanProcessor) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdktrace.SpanProcessor.
func (spanProcessor) ForceFlush(context.Context) error { return nil }

// valuesOf returns attributes as Go values, by their names. Without attributes, the map is empty.
func valuesOf(attributes []attribute.KeyValue) map[string]any {
	all := make(map[string]any, len(attributes))
	for _, a := range attributes {
		all[string(a.Key)] = a.Value.AsInterface()
	}
	return all
}
