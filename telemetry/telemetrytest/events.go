package telemetrytest

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/trace"
)

// Event is an OTel event: a log record with a name.
type Event struct {
	// Name is empty for a log record that is not an event.
	Name       string
	Severity   log.Severity
	Body       any
	Attributes map[string]any
	Time       time.Time

	// TraceID and SpanID identify the span that was current.
	TraceID trace.TraceID
	SpanID  trace.SpanID
	// Scope is the name of the logger: the import path of the package that emitted the event.
	Scope string
}

// eventProcessor records events.
type eventProcessor struct{ *Recorder }

// Enabled implements sdklog.Processor.
func (eventProcessor) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }

// OnEmit implements sdklog.Processor.
func (p eventProcessor) OnEmit(_ context.Context, r *sdklog.Record) error {
	event := Event{
		Name: r.EventName(), Severity: r.Severity(), Body: r.Body().AsInterface(), Attributes: map[string]any{}, Time: r.Timestamp(),
		TraceID: r.TraceID(), SpanID: r.SpanID(), Scope: r.InstrumentationScope().Name,
	}
	for a := range r.WalkAttributes {
		event.Attributes[string(a.Key)] = a.Value.AsInterface()
	}
	record(p.Recorder, &p.events, event)
	return nil
}

// Shutdown implements sdklog.Processor.
func (eventProcessor) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdklog.Processor.
func (eventProcessor) ForceFlush(context.Context) error { return nil }
