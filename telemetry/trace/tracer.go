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

// Tracer makes the spans of one package of application code. It is immutable and safe for concurrent use.
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

// Start begins a span, below the one in ctx if there is one. The name is of low cardinality; what varies belongs in
// attributes.
func (t *Tracer) Start(ctx context.Context, name string, attrs ...attribute.KeyValue) (context.Context, Span) {
	// Attributes are given at the start because a sampler may decide by them.
	var opts []trace.SpanStartOption
	if len(attrs) > 0 {
		opts = []trace.SpanStartOption{trace.WithAttributes(attrs...)}
	}
	parent, _ := ctx.Value(scopeKey{}).(*spanContext)
	ctx, span := t.tracer.Start(ctx, name, opts...)
	scope := &spanContext{Context: ctx, parent: parent}
	return scope, Span{span: span, tracer: t, scope: scope}
}

// Do runs fn in a span and returns its error. The span ends as with [Span.End], also if fn panics; the panic continues.
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

// Recording reports whether anything that Set adds is kept; ask before building costly attributes.
func (s Span) Recording() bool { return s.span.IsRecording() }

// End ends the span. Defer it, with the context that Start returned and the address of the named result, which it reads
// when the function returns; nil means that nothing can fail. An error gives the span the status Error and an error.type,
// and is emitted as an event "exception". So is a panic, which continues afterwards: for that, End must be what is deferred,
// rather than be called by it.
//
// An error or a panic that passes through several spans of this process is one event, that of the innermost; each of the spans has
// the status and the error.type. An outer function that wraps the error returns the same error in this sense.
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

// ErrorType returns the error.type that a Tracer gives an error: "canceled" or "timeout" if that is what ended it,
// the result of a method ErrorType() string of the error or one that it wraps, or else a Go type. That is the type of the
// error, or, where fmt.Errorf or errors.Join made it, that of the innermost error in it, following the first of
// several. An error whose own methods panic, as those of a nil pointer may, has its Go type. It is "" for nil.
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

// unwrapText looks through the errors of fmt.Errorf and errors.Join, whose types would be the same for all.
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

// wraps reports whether err is of a type that fmt.Errorf or errors.Join makes of other errors. The types have no
// exported names.
func wraps(err error) bool {
	switch fmt.Sprintf("%T", err) {
	case "*fmt.wrapError", "*fmt.wrapErrors", "*errors.joinError":
		return true
	default:
		return false
	}
}

// first returns the first error that is not nil: fmt.Errorf wraps nil too.
func first(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
