package trace_test

import (
	"context"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/telemetry"
	"github.com/go-os/go-os/telemetry/trace"
)

// BenchmarkSampler measures the cost of a changeable sampler.
func BenchmarkSampler(b *testing.B) {
	base := sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.1))
	for name, s := range map[string]sdktrace.Sampler{"fixed": base, "changeable": trace.NewSampler(base)} {
		b.Run(name, func(b *testing.B) {
			p := sdktrace.SamplingParameters{ParentContext: context.Background(), TraceID: oteltrace.TraceID{8: 255}}
			b.ReportAllocs()
			for b.Loop() {
				s.ShouldSample(p)
			}
		})
	}
}

// BenchmarkKeeper measures a trace of two spans: dropped, watched and discarded, watched and kept,
// sampled.
func BenchmarkKeeper(b *testing.B) {
	sink := discard{tracetest.NewNoopExporter()}
	keeper := trace.NewKeeper(sink, &trace.KeepOptions{Telemetry: telemetry.Off()})
	watched := keeper.Sampler(dropped())
	for _, bench := range []struct {
		name    string
		sampler sdktrace.Sampler
		next    sdktrace.SpanProcessor
		end     func(oteltrace.Span)
	}{
		{"dropped", dropped(), sink, func(s oteltrace.Span) { s.End() }},
		{"discarded", watched, keeper, func(s oteltrace.Span) { s.End() }},
		{"kept", watched, keeper, fail},
		{"sampled", sdktrace.AlwaysSample(), keeper, func(s oteltrace.Span) { s.End() }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			tp := sdktrace.NewTracerProvider(sdktrace.WithSampler(bench.sampler), sdktrace.WithSpanProcessor(bench.next))
			tracer := tp.Tracer("bench")
			b.ReportAllocs()
			for b.Loop() {
				ctx, root := tracer.Start(context.Background(), "root")
				_, child := tracer.Start(ctx, "child")
				child.End()
				bench.end(root)
			}
		})
	}
}

// discard is a span processor that does nothing.
type discard struct{ sdktrace.SpanExporter }

func (discard) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (discard) OnEnd(sdktrace.ReadOnlySpan)                     {}
func (discard) ForceFlush(context.Context) error                { return nil }

// BenchmarkTracer measures the cost of an application span over the API's own.
func BenchmarkTracer(b *testing.B) {
	for name, p := range map[string]telemetry.Providers{
		"off":     telemetry.Off(),
		"sampled": {TracerProvider: sdktrace.NewTracerProvider(), LoggerProvider: telemetry.Off().LoggerProvider},
	} {
		tracer := trace.New("bench", p)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ctx, span := tracer.Start(context.Background(), "call")
				span.End(ctx, nil)
			}
		})
	}
}
