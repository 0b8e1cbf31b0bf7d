// Package instrument records the telemetry of a capability: spans, durations and events.
//
// A portable type builds one [Scope] in its constructor and one [Op] for each method. A method then opens with one line and closes with one
// defer. Nothing else in it deals with telemetry:
//
//	func (s *Store) Get(ctx context.Context, key string) (item Item, err error) {
//		ctx, call := s.get.Start(ctx, key)
//		defer call.End(ctx, &err)
//		…
//	}
//
// Each call makes one span, and one point on the scope's duration histogram, in seconds. An error sets the span's status, and gives both
// the error.type of its class ([fault.Type]), of which there are few. A panic has the error.type "panic", and continues. Attribute sets are
// built once for each Op and error.type; nothing is built while nobody listens.
//
// Decisions and exceptions are OTel events ([Event]): log records with an EventName, correlated with the span in the context. Span events
// are not used (OTEP 4430). An event that nobody takes becomes a line of the Logger of the Providers, so that the loss of a lock or lease
// is not silent. All such lines have the same form: a message, the attribute "event" with the name of the event, and the attributes of the
// event. The readable log of exporters has this form too.
package instrument

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/telemetry"
)

// errorTypeKey is the attribute error.type of the semantic conventions.
const errorTypeKey = attribute.Key("error.type")

// Config describes a Scope.
type Config struct {
	// Name is the import path of the instrumented package. Required.
	Name string
	// Duration is the name of the histogram of call durations, in seconds. Empty means none.
	Duration string
	// Description of the histogram.
	Description string
	// Buckets of the histogram, in seconds. Nil means those of the semantic conventions for database calls.
	Buckets []float64
	// Kind of the spans. Zero means internal.
	Kind trace.SpanKind
	// Attrs are set on every span and every point. They must be of low cardinality.
	Attrs []attribute.KeyValue
	// Subject is the key of the span attribute that holds the subject of a call, such as goos.kv.key. Empty means none.
	Subject attribute.Key
	// Wrap adds the operation and the subject of a call to its error. Nil leaves errors as they are.
	Wrap func(operation, subject string, err error) error
}

// Scope is the instrumentation of one portable type. It is safe for concurrent use.
type Scope struct {
	cfg      Config
	tracer   trace.Tracer
	tracing  bool
	meter    Meter
	duration metric.Float64Histogram
	events   log.Logger
	people   func() *slog.Logger
	outbox   outbox
}

// New returns the Scope that cfg describes, on p. It cannot fail: see [Meter].
func New(cfg Config, p telemetry.Providers) *Scope {
	s := &Scope{
		cfg:      cfg,
		tracer:   p.Tracer(cfg.Name),
		tracing:  p.Tracing(),
		meter:    NewMeter(p.Meter(cfg.Name)),
		duration: metricnoop.Float64Histogram{},
		events:   p.EventLogger(cfg.Name),
		people:   p.Slog,
	}
	if cfg.Duration == "" {
		return s
	}
	buckets := cfg.Buckets
	if buckets == nil {
		buckets = callBuckets
	}
	s.duration = s.meter.Histogram(cfg.Duration, "s", cfg.Description, buckets)
	return s
}

// callBuckets are the semantic conventions' bounds for db.client.operation.duration.
var callBuckets = []float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10}

// Op is one kind of call of a Scope. It is immutable and safe for concurrent use.
type Op struct {
	scope     *Scope
	operation string
	span      string
	start     []trace.SpanStartOption
	attrs     []attribute.KeyValue
	ok        []metric.RecordOption
	fail      *sync.Map // of []metric.RecordOption by error.type, each built when it first occurs
}

// Op returns the instrumentation of an operation. operation is its name in errors, and span the name of its spans. The attributes are set
// on its spans and points, after the scope's own; they must be of low cardinality. Samplers see them, as the conventions ask. That costs a
// call one allocation, sampled or not.
func (s *Scope) Op(operation, span string, attrs ...attribute.KeyValue) *Op {
	all := slices.Concat(s.cfg.Attrs, attrs)
	return &Op{
		scope: s, operation: operation, span: span,
		start: []trace.SpanStartOption{trace.WithSpanKind(s.cfg.Kind), trace.WithAttributes(all...)},
		attrs: all,
		ok:    recordOptions(all),
		fail:  new(sync.Map),
	}
}

// failed returns the options of a point with this error.type.
func (o *Op) failed(errorType string) []metric.RecordOption {
	if known, ok := o.fail.Load(errorType); ok {
		return known.([]metric.RecordOption)
	}
	options := recordOptions(append(slices.Clip(o.attrs), errorTypeKey.String(errorType)))
	o.fail.Store(errorType, options)
	return options
}

// recordOptions works on a copy, because NewSet sorts its argument.
func recordOptions(attrs []attribute.KeyValue) []metric.RecordOption {
	return []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(slices.Clone(attrs)...))}
}

// Call is one observed call. Its zero value observes nothing.
type Call struct {
	op      *Op
	subject string
	span    trace.Span // nil unless recording
	start   time.Time  // zero if nothing is observed
}

// Start opens a call about a subject; an empty subject means none. The context carries its span. End must follow.
func (o *Op) Start(ctx context.Context, subject string) (context.Context, Call) {
	call := Call{op: o, subject: subject}
	if !o.scope.tracing && !o.scope.duration.Enabled(ctx) {
		return ctx, call
	}
	call.start = time.Now()
	if !o.scope.tracing {
		return ctx, call
	}
	ctx, span := o.scope.tracer.Start(ctx, o.span, o.start...)
	if span.IsRecording() {
		call.span = span
		if subject != "" && o.scope.cfg.Subject != "" {
			span.SetAttributes(o.scope.cfg.Subject.String(subject))
		}
	}
	return ctx, call
}

// Operation returns the name of the operation.
func (c Call) Operation() string { return c.op.operation }

// Set adds attributes to the call's span only. Attributes of high cardinality, such as a key, belong here.
func (c Call) Set(attrs ...attribute.KeyValue) {
	if c.span != nil {
		c.span.SetAttributes(attrs...)
	}
}

// Recording reports whether the call has a span that is recorded. Check it before building attributes for Set.
func (c Call) Recording() bool { return c.span != nil }

// End closes the call. It adds the operation and the subject to the error (Config.Wrap), and records the outcome. Defer it with the context
// that Start returned, so that the point can carry the span as its exemplar. Pass the address of the named result; nil means that the call
// cannot fail.
//
// A panic is a failure with the error.type "panic", and continues afterwards. For that, End itself must be deferred, not a function that
// calls it.
func (c Call) End(ctx context.Context, err *error) {
	if c.op == nil {
		return
	}
	if wrap := c.op.scope.cfg.Wrap; wrap != nil && err != nil && *err != nil {
		*err = wrap(c.op.operation, c.subject, *err)
	}
	if c.start.IsZero() {
		return
	}
	if v := recover(); v != nil {
		c.end(ctx, fault.TypePanic, func() string { return Message(fmt.Sprint("panic: ", v)) })
		panic(v)
	}
	if err == nil || *err == nil {
		c.end(ctx, "", nil)
		return
	}
	failure := *err
	c.end(ctx, fault.Type(failure), func() string { return ErrorMessage(failure) })
}

// end records the outcome. message is nil for success, and is called only if a span takes it.
func (c Call) end(ctx context.Context, errorType string, message func() string) {
	opts := c.op.ok
	if message != nil {
		opts = c.op.failed(errorType)
	}
	c.op.scope.duration.Record(ctx, time.Since(c.start).Seconds(), opts...)
	if c.span == nil {
		return
	}
	if message != nil {
		c.span.SetStatus(codes.Error, message())
		c.span.SetAttributes(errorTypeKey.String(errorType))
	}
	c.span.End()
}
