package osgrpc

import (
	"context"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"

	"github.com/go-os/go-os/internal/bounded"
	"github.com/go-os/go-os/internal/instrument"
)

// observer is the instrumentation of one side. It is immutable, except for its caches, and safe for concurrent use.
type observer struct {
	filter     func(string) bool
	tracer     trace.Tracer
	tracing    bool
	metering   bool
	duration   metric.Float64Histogram
	propagator propagation.TextMapPropagator // nil if there is nothing to propagate
	fields     *instrument.Fields            // of the propagator

	methods bounded.Cache[methodKey, *method]
	hosts   hosts
	buffers sync.Pool // of *attrBuffer
}

// attrBuffer holds the attributes of a span, ten at most. It is pooled: SetAttributes copies its arguments.
type attrBuffer [12]attribute.KeyValue

func (o *observer) buffer() *attrBuffer {
	if r, ok := o.buffers.Get().(*attrBuffer); ok {
		return r
	}
	return new(attrBuffer)
}

// durationOf creates the histogram of one side.
type durationOf func(metric.Meter) (metric.Float64Histogram, error)

func (o *observer) init(opts Options, newDuration durationOf) {
	p := opts.Telemetry
	o.filter = opts.Filter
	o.tracer, o.tracing = p.Tracer(scope), p.Tracing()
	o.duration = metricnoop.Float64Histogram{}
	if _, off := p.MeterProvider.(metricnoop.MeterProvider); !off {
		h, err := newDuration(p.Meter(scope))
		if err != nil {
			otel.Handle(err) // the histogram is then a no-op: telemetry never keeps a program from starting
		}
		o.duration, o.metering = h, true
	}
	// A provider's own propagator is fixed, so one without fields can be left out. The process-wide one may be set later.
	if p.Propagator == nil || len(p.Propagator.Fields()) > 0 {
		o.propagator = p.TextMapPropagator()
	}
	o.fields = instrument.NewFields(o.propagator, strings.ToLower)
}

// observing reports whether any signal is on.
func (o *observer) observing() bool { return o.tracing || o.metering || o.propagator != nil }

// begin starts the span of a call. The context carries the propagated fields. The span is nil if there are no spans.
func (o *observer) begin(ctx context.Context, m *method, start []trace.SpanStartOption) (context.Context, trace.Span) {
	if !o.tracing {
		return ctx, nil
	}
	return o.tracer.Start(ctx, m.span, start...)
}

// record adds one point to the histogram. The context carries the span for the point's exemplar.
func (o *observer) record(ctx context.Context, m *method, code codes.Code, since time.Time) {
	if o.metering && o.duration.Enabled(ctx) {
		o.duration.Record(ctx, time.Since(since).Seconds(), m.point(code)...)
	}
}

// finish ends a span with the outcome of the call. The buffer holds n attributes beside those of the method.
func (o *observer) finish(span trace.Span, m *method, code codes.Code, message string, buffer *attrBuffer, n int) {
	attrs := append(buffer[:n], semconv.RPCResponseStatusCode(codeNames[code]))
	if m.fault(code) {
		attrs = append(attrs, semconv.ErrorTypeKey.String(codeNames[code]))
		span.SetStatus(otelcodes.Error, message)
	}
	span.SetAttributes(append(attrs, m.attrs...)...)
	o.buffers.Put(buffer)
	span.End()
}
