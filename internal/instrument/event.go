package instrument

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"

	"github.com/go-os/go-os/internal/sanitize"
	"github.com/go-os/go-os/telemetry"
)

// Event emits OTel events of one name: log records with that EventName, correlated with the span in the context. Event is immutable and
// safe for concurrent use.
//
// An event that nobody takes becomes a line of a slog.Logger, if it has a message. The line has the level and the message of the event, the
// attribute "event" with the name, and then the attributes of the event, exception.* included. A consumer of the OTel event finds the
// message in its body.
type Event struct {
	logger   log.Logger
	name     string
	severity log.Severity
	gate     log.EnabledParameters

	message string // no lines if empty
	people  func() *slog.Logger
	outbox  *outbox // of the Scope; nil delivers in the call
}

// Event returns the emitter of events of this name. The name is of low cardinality: "goos.<capability>.<what>" or one of the semantic
// conventions. Variable parts belong in the attributes. If nobody takes OTel events, the Logger of the Providers gets a line with this
// message. Without a message there is no line.
//
// Processors and log handlers are called one at a time and in order. Their context has the values of the caller's context and does not end.
// The caller waits for them for at most 100 ms. Their panics go to OpenTelemetry's error handler.
func (s *Scope) Event(name string, severity log.Severity, message string) *Event {
	e := NewEvent(s.events, name, severity)
	e.message, e.people, e.outbox = message, s.people, &s.outbox
	return e
}

// NewEvent returns the emitter of events that never become lines, for code that has no Scope.
func NewEvent(logger log.Logger, name string, severity log.Severity) *Event {
	return &Event{
		logger:   logger,
		name:     name,
		severity: severity,
		gate:     log.EnabledParameters{Severity: severity, EventName: name},
	}
}

// NewEventOrLine is Scope.Event for code that has no Scope.
func NewEventOrLine(p telemetry.Providers, scope, name string, severity log.Severity, message string) *Event {
	e := NewEvent(p.EventLogger(scope), name, severity)
	e.message, e.people = message, p.Slog
	return e
}

// Enabled reports whether anybody takes the OTel event.
func (e *Event) Enabled(ctx context.Context) bool { return e.logger.Enabled(ctx, e.gate) }

// Emit records one event, now.
func (e *Event) Emit(ctx context.Context, attrs ...attribute.KeyValue) {
	e.EmitError(ctx, nil, attrs...)
}

// EmitError records one event with an error. The SDK adds exception.type, and EmitError adds exception.message, see ErrorMessage.
func (e *Event) EmitError(ctx context.Context, err error, attrs ...attribute.KeyValue) {
	if e.outbox == nil {
		e.deliver(ctx, err, attrs)
		return
	}
	ctx = context.WithoutCancel(ctx)
	e.outbox.deliver(func() { e.deliver(ctx, err, attrs) })
}

// deliver passes an event to its consumers.
func (e *Event) deliver(ctx context.Context, err error, attrs []attribute.KeyValue) {
	if e.Enabled(ctx) {
		e.emit(ctx, err, attrs)
		return
	}
	e.write(ctx, err, attrs)
}

// write logs an event that nobody takes.
func (e *Event) write(ctx context.Context, err error, attrs []attribute.KeyValue) {
	logger, level, ok := e.line(ctx)
	if !ok {
		return
	}
	if err != nil {
		attrs = append(attrs[:len(attrs):len(attrs)],
			attribute.String(exceptionType, errorType(err)),
			attribute.String(exceptionMessage, ErrorMessage(err)),
		)
	}
	line := make([]slog.Attr, 0, len(attrs)+1)
	line = append(line, slog.String("event", e.name))
	for _, kv := range attrs {
		line = append(line, slog.Any(string(kv.Key), kv.Value.AsInterface()))
	}
	logger.LogAttrs(ctx, level, e.message, line...)
}

// line returns the logger and the level of the lines, and false if there are none. An OTel severity is the slog level plus nine.
func (e *Event) line(ctx context.Context) (logger *slog.Logger, level slog.Level, ok bool) {
	if e.message == "" {
		return nil, 0, false
	}
	logger, level = e.people(), slog.Level(e.severity-log.SeverityInfo)
	return logger, level, logger.Enabled(ctx, level)
}

// EmitPanic records one exception event for a recovered panic value, with the stack taken at the recovery.
func (e *Event) EmitPanic(ctx context.Context, value any, stack []byte, attrs ...attribute.KeyValue) {
	if !e.Enabled(ctx) {
		if _, _, ok := e.line(ctx); !ok {
			return
		}
	}
	attrs = append(attrs[:len(attrs):len(attrs)],
		attribute.String("exception.stacktrace", sanitize.Text(string(stack), maxStack)))
	if err, ok := value.(error); ok {
		e.EmitError(ctx, err, attrs...)
		return
	}
	e.Emit(ctx, append(attrs,
		attribute.String(exceptionType, fmt.Sprintf("%T", value)),
		attribute.String(exceptionMessage, Message(fmt.Sprint(value))),
	)...)
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
	if e.message != "" {
		r.SetBody(attribute.StringValue(e.message))
	}
	if err != nil {
		addError(&r, err)
	}
	r.AddAttributes(attrs...) // after those of the error, which they override
	e.logger.Emit(ctx, r)
}

// addError adds err to the record. It sets the message itself, because the SDK would take the error's text unchanged. It does not give the
// SDK an error whose methods panic.
func addError(r *log.Record, err error) {
	text, ok := errorText(err)
	if !ok {
		name := errorType(err)
		r.AddAttributes(attribute.String(exceptionType, name), attribute.String(exceptionMessage, name))
		return
	}
	r.SetErr(err)
	if text != "" {
		r.AddAttributes(attribute.String(exceptionMessage, Message(text)))
	}
}

// errorType returns the exception.type of err as the SDK derives it: its own ErrorType if it has one, otherwise the type of the first error
// that fmt.Errorf did not make.
func errorType(err error) string {
	if _, ok := errorText(err); !ok {
		return fmt.Sprintf("%T", err)
	}
	if typed, ok := err.(interface{ ErrorType() string }); ok {
		if name := typed.ErrorType(); name != "" {
			return name
		}
	}
	for reflect.TypeOf(err) == formatted {
		next := errors.Unwrap(err)
		if next == nil {
			break
		}
		err = next
	}
	if t := reflect.TypeOf(err); t.PkgPath() != "" && t.Name() != "" {
		return t.PkgPath() + "." + t.Name()
	}
	return fmt.Sprintf("%T", err)
}

// formatted is the type of the errors that fmt.Errorf makes from a format with one %w.
var formatted = reflect.TypeOf(fmt.Errorf("%w", errors.New("")))
