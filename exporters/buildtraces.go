package exporters

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/go-os/go-os/telemetry/trace"
)

func (p *Pipeline) buildTraces(ctx context.Context, res *resource.Resource) error {
	if p.settings.traces.off {
		p.providers.TracerProvider = tracenoop.NewTracerProvider()
		return nil
	}
	var out fanout
	for _, to := range p.settings.traces.to {
		var e sdktrace.SpanExporter
		var err error
		kind := "stdout_span_exporter"
		if to.exporter == toConsole {
			e, err = newConsoleSpans(p.console)
		} else {
			e, kind, err = to.otlp.spans(ctx)
		}
		if err != nil {
			return fmt.Errorf("exporters: %s exporter of traces: %w", to.exporter, err)
		}
		out = append(out, newSpanBatcher(p.open(Traces, kind, to.batch.queue), p.sized(to.batch), e))
	}
	var sampler sdktrace.Sampler = p.sampler
	processors := append([]sdktrace.SpanProcessor(nil), p.opts.SpanProcessors...)
	if p.opts.KeepTraces != nil && len(out) > 0 {
		keep := *p.opts.KeepTraces
		keep.Telemetry = p.providers
		keeper := trace.NewKeeper(out, &keep)
		sampler = keeper.Sampler(sampler)
		processors = append(processors, keeper)
	} else if len(out) > 0 {
		processors = append(processors, out)
	}
	opts := []sdktrace.TracerProviderOption{sdktrace.WithResource(res), sdktrace.WithSampler(sampler)}
	if p.settings.spanLimits != nil {
		opts = append(opts, sdktrace.WithRawSpanLimits(*p.settings.spanLimits))
	}
	if p.leaks {
		opts = append(opts, sdktrace.WithSpanProcessor(spanResource{&ownResource{want: res}}))
	}
	var stage atOnce
	for _, sp := range processors {
		opts = append(opts, sdktrace.WithSpanProcessor(sp))
		stage = append(stage, sp)
	}
	p.providers.TracerProvider = sdktrace.NewTracerProvider(opts...)
	p.stages = append(p.stages, stage.stage(Traces))
	return nil
}

// fanout joins several span processors into one, because a Keeper takes only one.
type fanout []spanBatcher

var _ sdktrace.SpanProcessor = fanout(nil)

// OnStart implements sdktrace.SpanProcessor.
func (fanout) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd implements sdktrace.SpanProcessor.
func (f fanout) OnEnd(s sdktrace.ReadOnlySpan) {
	for _, b := range f {
		b.OnEnd(s)
	}
}

func (f fanout) all() atOnce {
	all := make(atOnce, len(f))
	for i, b := range f {
		all[i] = b
	}
	return all
}

// ForceFlush implements sdktrace.SpanProcessor.
func (f fanout) ForceFlush(ctx context.Context) error { return f.all().flush(ctx) }

// Shutdown implements sdktrace.SpanProcessor.
func (f fanout) Shutdown(ctx context.Context) error { return f.all().shutdown(ctx) }
