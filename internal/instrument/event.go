package instrument

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"

	"github.com/go-os/go-os/internal/sanitize"
)

// Event emits OTel events of one name: log records whose EventName is that name, correlated with the span in the context.
// It is immutable and safe for concurrent use.
type Event struct {
	logger   log.Logger
	name     string
	severity log.Severity
	gate     log.EnabledParameters

	message string // of the line in the place of an event that nobody takes
	people  func() *slog.Logger
}

// Event returns the emitter of events of this name. The name is of low cardinality, "goos.<capability>.<what>" or one of the
// semantic conventions; what varies belongs in the attributes. If nobody takes OTel events, the Logger of the Providers gets a line with
// this message, the name, the error and the attributes. Without a message there is no line.
func (s *Scope) Event(name string, severity log.Severity, message string) *Event {
	e := NewEvent(s.events, name, severity)
	e.message, e.people = message, s.people
	return e
}

// NewEvent is Scope.Event for code that has a logger but no Scope.
func NewEvent(logger log.Logger, name string, severity log.Severity) *Event {
	return &Event{
		logger:   logger,
		name:     name,
		severity: severity,
		gate:     log.EnabledParameters{Severity: severity, EventName: name},
	}
}

// Enabled reports whether anybody takes the OTel event.
func (e *Event) Enabled(ctx context.Context) bool { return e.logger.Enabled(ctx, e.gate) }

// Emit records one event, now.
func (e *Event) Emit(ctx context.Context, attrs ...attribute.KeyValue) {
	if e.Enabled(ctx) {
		e.emit(ctx, nil, attrs)
		return
	}
	e.write(ctx, nil, attrs)
}

// EmitError records one event with an error: the SDK adds exception.type and this adds exception.message, see ErrorMessage.
func (e *Event) EmitError(ctx context.Context, err error, attrs ...attribute.KeyValue) {
	if e.Enabled(ctx) {
		e.emit(ctx, err, attrs)
		return
	}
	e.write(ctx, err, attrs)
}

// write puts an event that nobody takes into the log. Severities and slog's levels are the same scale, nine apart.
func (e *Event) write(ctx context.Context, err error, attrs []attribute.KeyValue) {
	if e.message == "" {
		return
	}
	logger, level := e.people(), slog.Level(e.severity-log.SeverityInfo)
	if !logger.Enabled(ctx, level) {
		return
	}
	line := make([]slog.Attr, 0, len(attrs)+2)
	line = append(line, slog.String("event", e.name))
	for _, kv := range attrs {
		line = append(line, slog.Any(string(kv.Key), kv.Value.AsInterface()))
	}
	if err != nil {
		line = append(line, slog.String("error", ErrorMessage(err)))
	}
	logger.LogAttrs(ctx, level, e.message, line...)
}

// EmitPanic records one exception event for a recovered panic value, with the stack that was taken where it was recovered.
// If it returns false, nobody listens, and the caller must report the panic some other way.
func (e *Event) EmitPanic(ctx context.Context, value any, stack []byte, attrs ...attribute.KeyValue) bool {
	if !e.Enabled(ctx) {
		return false
	}
	attrs = append(attrs[:len(attrs):len(attrs)],
		attribute.String("exception.stacktrace", sanitize.Text(string(stack), maxStack)))
	if err, ok := value.(error); ok {
		e.emit(ctx, err, attrs)
		return true
	}
	e.emit(ctx, nil, append(attrs,
		attribute.String(exceptionType, fmt.Sprintf("%T", value)),
		attribute.String(exceptionMessage, Message(fmt.Sprint(value))),
	))
	return true
}

const (
	exceptionType    = "exception.type"
	exceptionMessage = "exception.message"
)

func (e *Event) emit(ctx context.Context, err error, attrs []attribute.KeyValue) {
	var r log.Record
	r.SetEventName(e.name)
	r.SetTimestamp(time.Now())
	r.SetSeverity(e.severity)
	if err != nil {
		addError(&r, err)
	}
	r.AddAttributes(attrs...) // after those of the error, which they override
	e.logger.Emit(ctx, r)
}

// addError sets the message here, because the SDK would take the text of the error as it is. It does not give the SDK an
// error whose methods panic.
func addError(r *log.Record, err error) {
	text, ok := errorText(err)
	if !ok {
		name := fmt.Sprintf("%T", err)
		r.AddAttributes(attribute.String(exceptionType, name), attribute.String(exceptionMessage, name))
		return
	}
	r.SetErr(err)
	if text != "" {
		r.AddAttributes(attribute.String(exceptionMessage, Message(text)))
	}
}
