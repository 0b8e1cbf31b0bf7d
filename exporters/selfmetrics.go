package exporters

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/go-os/go-os/telemetry"
)

// scope is the instrumentation scope of the pipeline's own metrics.
const scope = "github.com/go-os/go-os/exporters"

// noun returns what the semantic conventions call an item of the signal, in names and in units.
func (s Signal) noun() (name, unit string) {
	switch s {
	case Traces:
		return "span", "{span}"
	case Metrics:
		return "metric_data_point", "{data_point}"
	default:
		return "log", "{log_record}"
	}
}

// gauges are the instruments of one signal. They read the ledgers on collection, so that counting costs the program nothing.
type gauges struct {
	processed       metric.Int64ObservableCounter
	size, capacity  metric.Int64ObservableUpDownCounter
	exported        metric.Int64ObservableCounter
	inflight        metric.Int64ObservableUpDownCounter
	queued          bool // whether the signal has a processor with a queue
	all             []metric.Observable
	err             error
	meter           metric.Meter
	name, unit, the string // of the items: in metric names, as unit, in descriptions
}

// observe registers the ledgers with the meter provider, as otel.sdk.* metrics.
func observe(p telemetry.Providers, ledgers []*ledger) error {
	meter := p.Meter(scope)
	duration, err := meter.Float64Histogram("otel.sdk.exporter.operation.duration", metric.WithUnit("s"),
		metric.WithDescription("The duration of one export, with all its attempts."))
	errs := []error{err}
	bySignal := make(map[Signal][]*ledger)
	for _, l := range ledgers {
		if err == nil {
			l.duration.Store(&duration)
		}
		bySignal[l.signal] = append(bySignal[l.signal], l)
	}
	for signal, of := range bySignal {
		errs = append(errs, observeSignal(meter, signal, of))
	}
	return errors.Join(errs...)
}

func observeSignal(meter metric.Meter, signal Signal, ledgers []*ledger) error {
	name, unit := signal.noun()
	g := gauges{meter: meter, name: name, unit: unit, the: signal.items(), queued: signal != Metrics}
	if g.queued {
		g.processed = g.counter("processor.%s.processed", "The %s that a processor has finished with, successful or failed.")
		g.size = g.upDown("processor.%s.queue.size", "The %s in the queue of a processor.")
		g.capacity = g.upDown("processor.%s.queue.capacity", "The most %s that the queue of a processor can hold.")
	}
	g.exported = g.counter("exporter.%s.exported", "The %s whose export has finished, successful or failed.")
	g.inflight = g.upDown("exporter.%s.inflight", "The %s that an exporter was given and has not finished with.")
	if g.err != nil {
		return g.err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for _, l := range ledgers {
			g.read(o, l.read())
		}
		return nil
	}, g.all...)
	return err
}

func (g *gauges) counter(name, description string) metric.Int64ObservableCounter {
	c, err := g.meter.Int64ObservableCounter("otel.sdk."+fmt.Sprintf(name, g.name),
		metric.WithUnit(g.unit), metric.WithDescription(fmt.Sprintf(description, g.the)))
	g.err = errors.Join(g.err, err)
	g.all = append(g.all, c)
	return c
}

func (g *gauges) upDown(name, description string) metric.Int64ObservableUpDownCounter {
	c, err := g.meter.Int64ObservableUpDownCounter("otel.sdk."+fmt.Sprintf(name, g.name),
		metric.WithUnit(g.unit), metric.WithDescription(fmt.Sprintf(description, g.the)))
	g.err = errors.Join(g.err, err)
	g.all = append(g.all, c)
	return c
}

// read observes one page. A processor has processed the items that it passed to the exporter, and those that it refused, by
// error.type.
func (g *gauges) read(o metric.Observer, p page) {
	if g.queued {
		attrs := p.processor.attributes()
		with := metric.WithAttributes(attrs...)
		handed := p.Emitted - p.Waiting
		for reason, n := range p.refused {
			o.ObserveInt64(g.processed, n, failedWith(attrs, reason))
			handed -= n
		}
		o.ObserveInt64(g.processed, handed, with)
		o.ObserveInt64(g.size, p.Waiting, with)
		o.ObserveInt64(g.capacity, p.capacity, with)
	}
	attrs := p.exporter.attributes()
	with := metric.WithAttributes(attrs...)
	for kind, n := range p.FailedBy {
		o.ObserveInt64(g.exported, n, failedWith(attrs, kind))
	}
	o.ObserveInt64(g.exported, p.Delivered, with)
	o.ObserveInt64(g.inflight, p.InFlight, with)
}

func failedWith(attrs []attribute.KeyValue, kind string) metric.ObserveOption {
	return metric.WithAttributes(append(attrs[:len(attrs):len(attrs)], attribute.String("error.type", kind))...)
}
