package trace

import (
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// keptKey is the attribute that distinguishes a kept span from a sampled one.
const keptKey = attribute.Key("goos.trace.kept")

// keptSpan presents a recorded span as a sampled one, because export pipelines drop all others.
type keptSpan struct {
	sdktrace.ReadOnlySpan
	context, parent trace.SpanContext
	attrs           []attribute.KeyValue
}

func newKeptSpan(s sdktrace.ReadOnlySpan, reason string) keptSpan {
	attrs := s.Attributes()
	return keptSpan{
		ReadOnlySpan: s,
		context:      sampled(s.SpanContext()),
		parent:       sampled(s.Parent()),
		attrs:        append(attrs[:len(attrs):len(attrs)], keptKey.String(reason)),
	}
}

func sampled(sc trace.SpanContext) trace.SpanContext {
	if !sc.IsValid() {
		return sc // a root has no parent
	}
	return sc.WithTraceFlags(sc.TraceFlags().WithSampled(true))
}

// SpanContext returns the span's own context with the sampled flag.
func (s keptSpan) SpanContext() trace.SpanContext { return s.context }

// Parent returns the span's parent with the sampled flag.
func (s keptSpan) Parent() trace.SpanContext { return s.parent }

// Attributes returns the span's attributes and the reason why it was kept.
func (s keptSpan) Attributes() []attribute.KeyValue { return s.attrs }

// Sampler returns a sampler that decides as root does, but records the spans of dropped traces that began in this
// process, for the Keeper. For spans whose remote parent was not sampled it adds no work to root's.
func (k *Keeper) Sampler(root sdktrace.Sampler) sdktrace.Sampler { return keepSampler{root} }

type keepSampler struct{ root sdktrace.Sampler }

// ShouldSample turns a drop into a recording if the span has no parent, or a parent that is recorded for the same
// reason.
func (s keepSampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	result := s.root.ShouldSample(p)
	if result.Decision != sdktrace.Drop {
		return result
	}
	parent := trace.SpanFromContext(p.ParentContext)
	sc := parent.SpanContext()
	if sc.IsValid() && (sc.IsSampled() || !recorded(parent)) {
		return result // a remote parent is never recorded here
	}
	// The tracestate of the root decision may hold a sampling threshold that this trace did not pass. The parent's
	// does not.
	return sdktrace.SamplingResult{Decision: sdktrace.RecordOnly, Tracestate: sc.TraceState()}
}

// recorded reports whether a local span is or was recorded. One that has ended may still get children.
func recorded(s trace.Span) bool {
	_, ok := s.(sdktrace.ReadOnlySpan)
	return ok || s.IsRecording()
}

// Description implements sdktrace.Sampler.
func (s keepSampler) Description() string { return "Keeper{root:" + s.root.Description() + "}" }
