package trace

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/telemetry"
)

// Tracer creates the spans of one package of application code. It is immutable and safe for concurrent use.
//
//	func (s *Shop) Charge(ctx context.Context, order Order) (err error) {
//		ctx, span := s.tracer.Start(ctx, "charge", attribute.String("order.id", order.ID))
//		defer span.End(ctx, &err)
//		…
//	}
type Tracer struct {
	tracer    trace.Tracer
	exception *instrument.Event
}

// New returns the Tracer of an instrumentation scope, named by the import path of the package that uses it.
func New(scope string, p telemetry.Providers) *Tracer {
	return &Tracer{
		tracer:    p.Tracer(scope),
		exception: instrument.NewEvent(p.EventLogger(scope), "exception", log.SeverityError),
	}
}

// Span is a span of a Tracer. It must be ended.
type Span struct {
	span   trace.Span
	tracer *Tracer
	scope  *spanContext
}

// Start begins a span, as a child of the one in ctx if there is one. The name is of low cardinality; varying values belong in
// attributes.
func (t *Tracer) Start(ctx context.Context, name string, attrs ...attribute.KeyValue) (context.Context, Span) {
	// The attributes are set at the start because a sampler may decide by them.
	var opts []trace.SpanStartOption
	if len(attrs) > 0 {
		opts = []trace.SpanStartOption{trace.WithAttributes(attrs...)}
	}
	parent, _ := ctx.Value(scopeKey{}).(*spanContext)
	ctx, span := t.tracer.Start(ctx, name, opts...)
	scope := &spanContext{Context: ctx, parent: parent}
	return scope, Span{span: span, tracer: t, scope: scope}
}

// Do runs fn in a span and returns its error. The span ends as with [Span.End], even if fn panics; the panic continues.
func (t *Tracer) Do(
	ctx context.Context, name string, fn func(context.Context) error, attrs ...attribute.KeyValue,
) (err error) {
	ctx, span := t.Start(ctx, name, attrs...)
	defer span.End(ctx, &err)
	return fn(ctx)
}

// Set adds attributes, or replaces those of the same key.
func (s Span) Set(attrs ...attribute.KeyValue) {
	if s.span.IsRecording() {
		s.span.SetAttributes(attrs...)
	}
}

// Recording reports whether attributes added by Set are kept. Call it before building costly attributes.
func (s Span) Recording() bool { return s.span.IsRecording() }

// End ends the span. Defer it directly, with the context that Start returned and the address of the named result; nil means that
// nothing can fail. It reads the result when the function returns. An error gives the span the status Error and an error.type, and
// is emitted as an event "exception". So is a panic, which continues afterwards. End sees a panic only if it is itself deferred,
// not called by a deferred function.
//
// An error or a panic that passes through several spans of this process is one event, emitted by the innermost. Each of the spans
// has the status and the error.type. An outer function that wraps the error returns the same error in this sense.
func (s Span) End(ctx context.Context, err *error) {
	if v := recover(); v != nil {
		s.fail("panic", instrument.Message(fmt.Sprint("panic: ", v)))
		if s.scope.first(v) {
			s.tracer.exception.EmitPanic(ctx, v, debug.Stack())
		}
		s.span.End()
		panic(v)
	}
	if err != nil && *err != nil {
		s.fail(ErrorType(*err), instrument.ErrorMessage(*err))
		if s.scope.first(*err) {
			s.tracer.exception.EmitError(ctx, *err)
		}
	}
	s.span.End()
}

func (s Span) fail(errorType, message string) {
	s.span.SetStatus(codes.Error, message)
	s.span.SetAttributes(attribute.String("error.type", instrument.Message(errorType)))
}

// ErrorType returns the error.type that a Tracer gives an error: "canceled" or "timeout" if an ended context is the cause, the
// result of a method ErrorType() string of the error or one that it wraps, or else a Go type. That is the type of the error. For
// an error of fmt.Errorf or errors.Join it is the type of the innermost error, following the first of several. An error whose own
// methods panic, as on a nil pointer, has its Go type. It is "" for nil.
func ErrorType(err error) (errorType string) {
	if err == nil {
		return ""
	}
	defer func() {
		if recover() != nil {
			errorType = fmt.Sprintf("%T", err)
		}
	}()
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	var typed interface {
		error
		ErrorType() string
	}
	if errors.As(err, &typed) && typed.ErrorType() != "" {
		return typed.ErrorType()
	}
	return fmt.Sprintf("%T", unwrapText(err))
}

// unwrapText unwraps the errors of fmt.Errorf and errors.Join, whose types are always the same.
func unwrapText(err error) error {
	for wraps(err) {
		var inner error
		switch err := err.(type) {
		case interface{ Unwrap() error }:
			inner = err.Unwrap()
		case interface{ Unwrap() []error }:
			inner = first(err.Unwrap())
		}
		if inner == nil {
			break
		}
		err = inner
	}
	return err
}

// wraps reports whether err has one of the unexported types with which fmt.Errorf and errors.Join wrap errors.
func wraps(err error) bool {
	switch fmt.Sprintf("%T", err) {
	case "*fmt.wrapError", "*fmt.wrapErrors", "*errors.joinError":
		return true
	default:
		return false
	}
}

// first returns the first non-nil error: fmt.Errorf wraps nil too.
func first(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
