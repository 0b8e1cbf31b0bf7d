package trace

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/go-os/go-os/telemetry"
)

// outcomes are the outcomes of a watched trace and of its spans, as attribute sets.
type outcomes struct{ kept, discarded, overflowed, unwatched metric.ObserveOption }

func newOutcomes() outcomes {
	outcome := func(v string) metric.ObserveOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String("goos.trace.keeper.outcome", v)))
	}
	return outcomes{outcome("kept"), outcome("discarded"), outcome("overflowed"), outcome("unwatched")}
}

// observe reports the Keeper's counts at each collection. An error goes to the OpenTelemetry error handler: a Keeper
// without metrics still keeps traces.
func (k *Keeper) observe(p telemetry.Providers) metric.Registration {
	meter := p.Meter(scopeName)
	traces, err := meter.Int64ObservableCounter("goos.trace.keeper.traces", metric.WithUnit("{trace}"),
		metric.WithDescription("Traces that began here unsampled and were watched, by what became of them."))
	if err != nil {
		otel.Handle(err)
		return nil
	}
	spans, err := meter.Int64ObservableCounter("goos.trace.keeper.spans", metric.WithUnit("{span}"),
		metric.WithDescription("Unsampled spans that ended, by what became of them."))
	if err != nil {
		otel.Handle(err)
		return nil
	}
	buffered, err := meter.Int64ObservableGauge("goos.trace.keeper.buffered", metric.WithUnit("{span}"),
		metric.WithDescription("Spans held until their trace is decided."))
	if err != nil {
		otel.Handle(err)
		return nil
	}
	by := newOutcomes()
	reg, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		stats := k.Stats()
		o.ObserveInt64(traces, stats.Kept, by.kept)
		o.ObserveInt64(traces, stats.Discarded, by.discarded)
		o.ObserveInt64(traces, stats.Overflowed, by.overflowed)
		o.ObserveInt64(spans, stats.SpansKept, by.kept)
		o.ObserveInt64(spans, stats.SpansDiscarded, by.discarded)
		o.ObserveInt64(spans, stats.SpansOverflowed, by.overflowed)
		o.ObserveInt64(spans, stats.SpansUnwatched, by.unwatched)
		o.ObserveInt64(buffered, stats.SpansBuffered)
		return nil
	}, traces, spans, buffered)
	if err != nil {
		otel.Handle(err)
		return nil
	}
	return reg
}
