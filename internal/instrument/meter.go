package instrument

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// Meter makes instruments and cannot fail. It replaces an instrument that the provider refuses with a no-op, and passes the refusal to the
// OpenTelemetry error handler. Telemetry never keeps a capability from starting.
type Meter struct{ meter metric.Meter }

// NewMeter returns a Meter for code that has no Scope.
func NewMeter(m metric.Meter) Meter { return Meter{m} }

// Meter returns the instruments of a Scope.
func (s *Scope) Meter() Meter { return s.meter }

// Counter returns a counter of whole numbers.
func (m Meter) Counter(name, unit, description string) metric.Int64Counter {
	c, err := m.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
	return orNoop[metric.Int64Counter](c, err, noop.Int64Counter{})
}

// UpDownCounter returns a counter of whole numbers that can also decrease.
func (m Meter) UpDownCounter(name, unit, description string) metric.Int64UpDownCounter {
	c, err := m.meter.Int64UpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	return orNoop[metric.Int64UpDownCounter](c, err, noop.Int64UpDownCounter{})
}

// Gauge returns a gauge of whole numbers.
func (m Meter) Gauge(name, unit, description string) metric.Int64Gauge {
	g, err := m.meter.Int64Gauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	return orNoop[metric.Int64Gauge](g, err, noop.Int64Gauge{})
}

// Histogram returns a histogram with these bucket bounds.
func (m Meter) Histogram(name, unit, description string, bounds []float64) metric.Float64Histogram {
	h, err := m.meter.Float64Histogram(name, metric.WithUnit(unit), metric.WithDescription(description),
		metric.WithExplicitBucketBoundaries(bounds...))
	return orNoop[metric.Float64Histogram](h, err, noop.Float64Histogram{})
}

// orNoop returns the instrument, or the no-op if there is an error. A provider may return both an instrument and an error.
func orNoop[T any](instrument T, err error, off T) T {
	if err == nil {
		return instrument
	}
	otel.Handle(err)
	return off
}

// ObservableGauge returns a gauge whose values a callback of Observe supplies.
func (m Meter) ObservableGauge(name, unit, description string) metric.Float64ObservableGauge {
	g, err := m.meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	return orNoop[metric.Float64ObservableGauge](g, err, noop.Float64ObservableGauge{})
}

// ObservableUpDownCounter returns a counter of whole numbers whose values a callback of Observe supplies.
func (m Meter) ObservableUpDownCounter(name, unit, description string) metric.Int64ObservableUpDownCounter {
	c, err := m.meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	return orNoop[metric.Int64ObservableUpDownCounter](c, err, noop.Int64ObservableUpDownCounter{})
}

// ObservableCounter returns a counter of whole numbers whose totals a callback of Observe supplies.
func (m Meter) ObservableCounter(name, unit, description string) metric.Int64ObservableCounter {
	c, err := m.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	return orNoop[metric.Int64ObservableCounter](c, err, noop.Int64ObservableCounter{})
}

// Observe calls callback at each collection, for the values of these instruments, until stop is called.
func (m Meter) Observe(callback metric.Callback, of ...metric.Observable) (stop func()) {
	registration, err := m.meter.RegisterCallback(callback, of...)
	if err != nil {
		otel.Handle(err)
		return func() {}
	}
	return func() {
		if err := registration.Unregister(); err != nil {
			otel.Handle(err)
		}
	}
}
