package metrics

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/option"
	"github.com/go-os/go-os/telemetry"
)

// InstrumentOptions describe an instrument. The zero value works.
type InstrumentOptions struct {
	// Unit of the values, by UCUM: "s", "By", "{request}". Default: none.
	Unit string
	// Description of the instrument. Default: none.
	Description string
	// Buckets are the upper bounds of a Histogram, in its unit and ascending. Other instruments refuse them. Default: if the
	// unit is "s", those of the semantic conventions for HTTP durations, 0.005 to 10; otherwise those of the SDK, which suit
	// milliseconds.
	Buckets []float64
	// MaxLabels is the number of distinct label values whose attribute sets are cached. Further ones are measured too, but
	// each call builds its set; the SDK's own limit applies to their series. MaxLabels bounds their number, not their size:
	// shorten strings that come from outside. Default: 2000, the limit of the SDK.
	MaxLabels int
}

// secondBuckets are the semantic conventions' bounds for http.server.request.duration.
func secondBuckets() []float64 {
	return []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
}

// check returns an error if the scope is empty or an option is negative.
func (o *InstrumentOptions) check(scope string) error {
	err := option.Check("metrics.InstrumentOptions", option.Of("MaxLabels", o.MaxLabels))
	if scope == "" {
		err = errors.Join(err, fmt.Errorf("%w: the instrumentation scope is empty; give the import path of the package that measures", ErrInvalid))
	}
	return err
}

func (o *InstrumentOptions) withoutBuckets() error {
	if len(o.Buckets) > 0 {
		return fmt.Errorf("%w: buckets are for histograms only", ErrInvalid)
	}
	return nil
}

// ascending validates the buckets, because the SDK validates only those of the first instrument of a name.
func (o *InstrumentOptions) ascending() error {
	for i, bound := range o.Buckets {
		if math.IsNaN(bound) || i > 0 && bound <= o.Buckets[i-1] {
			return fmt.Errorf("%w: bucket bounds must ascend: %v", ErrInvalid, o.Buckets)
		}
	}
	return nil
}

// failed adds the instrument to an error.
func failed(kind, name string, err error) error {
	return fmt.Errorf("telemetry/metrics: %s %q: %w", kind, name, err)
}

// Counter is a counter that only increases. Its labels are the fields of L, a struct: string, bool, int and its sizes,
// uint8, uint16 and uint32, and types derived from these. Each has a tag `metric:"key"`. With `metric:"key,omitempty"` the
// label is left out when the field is zero, like error.type for a success. Bytes of a string that are not UTF-8 are replaced
// by U+FFFD.
//
// Keys that Prometheus could not show are refused: those that begin with two underscores, those of the instrumentation scope
// (otel.scope.*), two that become equal ("a.b" and "a_b"), and "le" on a histogram.
type Counter[L comparable] struct {
	inst     metric.Int64Counter
	sets     *labelSets[L, metric.AddOption]
	negative func() // reports the first negative n
}

// NewCounter returns a Counter of an instrumentation scope, named by the import path of the package that measures. It
// returns an error that names the field if L is not a valid label struct. It returns an error that names the counter if the
// scope is empty or OpenTelemetry does not allow the name.
func NewCounter[L comparable](
	scope string, p telemetry.Providers, name string, opts *InstrumentOptions,
) (*Counter[L], error) {
	const kind = "counter"
	o := defaults.Copy(opts)
	if err := errors.Join(o.check(scope), o.withoutBuckets()); err != nil {
		return nil, failed(kind, name, err)
	}
	sets, err := newLabelSets[L](dto.MetricType_COUNTER, o.MaxLabels, addOption)
	if err != nil {
		return nil, failed(kind, name, err)
	}
	inst, err := p.Meter(scope).Int64Counter(name, metric.WithUnit(o.Unit), metric.WithDescription(o.Description))
	if err != nil {
		return nil, failed(kind, name, err)
	}
	negative := sync.OnceFunc(func() {
		otel.Handle(failed(kind, name, errors.New("a negative value was refused: use an UpDownCounter for what becomes less")))
	})
	return &Counter[L]{inst, sets, negative}, nil
}

// Add adds n. A negative n is refused, because it would look like a restart in the series: it is not counted, and the first
// is reported to the OpenTelemetry error handler.
func (c *Counter[L]) Add(ctx context.Context, n int64, labels L) {
	if n < 0 {
		c.negative()
		return
	}
	if c.inst.Enabled(ctx) {
		c.inst.Add(ctx, n, c.sets.options(labels)...)
	}
}

// UpDownCounter is a counter that increases and decreases, such as requests in flight. For L see [Counter].
type UpDownCounter[L comparable] struct {
	inst metric.Int64UpDownCounter
	sets *labelSets[L, metric.AddOption]
}

// NewUpDownCounter returns an UpDownCounter. Its errors are those of [NewCounter].
func NewUpDownCounter[L comparable](
	scope string, p telemetry.Providers, name string, opts *InstrumentOptions,
) (*UpDownCounter[L], error) {
	const kind = "up-down counter"
	o := defaults.Copy(opts)
	if err := errors.Join(o.check(scope), o.withoutBuckets()); err != nil {
		return nil, failed(kind, name, err)
	}
	sets, err := newLabelSets[L](dto.MetricType_GAUGE, o.MaxLabels, addOption)
	if err != nil {
		return nil, failed(kind, name, err)
	}
	inst, err := p.Meter(scope).Int64UpDownCounter(name, metric.WithUnit(o.Unit), metric.WithDescription(o.Description))
	if err != nil {
		return nil, failed(kind, name, err)
	}
	return &UpDownCounter[L]{inst, sets}, nil
}

// Add adds n, which may be negative.
func (c *UpDownCounter[L]) Add(ctx context.Context, n int64, labels L) {
	if c.inst.Enabled(ctx) {
		c.inst.Add(ctx, n, c.sets.options(labels)...)
	}
}

// Gauge holds the last recorded value, such as a temperature. For L see [Counter].
type Gauge[L comparable] struct {
	inst metric.Float64Gauge
	sets *labelSets[L, metric.RecordOption]
}

// NewGauge returns a Gauge. Its errors are those of [NewCounter].
func NewGauge[L comparable](
	scope string, p telemetry.Providers, name string, opts *InstrumentOptions,
) (*Gauge[L], error) {
	const kind = "gauge"
	o := defaults.Copy(opts)
	if err := errors.Join(o.check(scope), o.withoutBuckets()); err != nil {
		return nil, failed(kind, name, err)
	}
	sets, err := newLabelSets[L](dto.MetricType_GAUGE, o.MaxLabels, recordOption)
	if err != nil {
		return nil, failed(kind, name, err)
	}
	inst, err := p.Meter(scope).Float64Gauge(name, metric.WithUnit(o.Unit), metric.WithDescription(o.Description))
	if err != nil {
		return nil, failed(kind, name, err)
	}
	return &Gauge[L]{inst, sets}, nil
}

// Record sets the value.
func (g *Gauge[L]) Record(ctx context.Context, value float64, labels L) {
	if g.inst.Enabled(ctx) {
		g.inst.Record(ctx, value, g.sets.options(labels)...)
	}
}

// Histogram counts values by size, such as durations. For L see [Counter].
type Histogram[L comparable] struct {
	inst metric.Float64Histogram
	sets *labelSets[L, metric.RecordOption]
}

// NewHistogram returns a Histogram. Its errors are those of [NewCounter], and those of its buckets.
func NewHistogram[L comparable](
	scope string, p telemetry.Providers, name string, opts *InstrumentOptions,
) (*Histogram[L], error) {
	const kind = "histogram"
	o := defaults.Copy(opts)
	if err := errors.Join(o.check(scope), o.ascending()); err != nil {
		return nil, failed(kind, name, err)
	}
	sets, err := newLabelSets[L](dto.MetricType_HISTOGRAM, o.MaxLabels, recordOption)
	if err != nil {
		return nil, failed(kind, name, err)
	}
	if len(o.Buckets) == 0 && o.Unit == "s" {
		o.Buckets = secondBuckets()
	}
	settings := []metric.Float64HistogramOption{metric.WithUnit(o.Unit), metric.WithDescription(o.Description)}
	if len(o.Buckets) > 0 {
		settings = append(settings, metric.WithExplicitBucketBoundaries(o.Buckets...))
	}
	inst, err := p.Meter(scope).Float64Histogram(name, settings...)
	if err != nil {
		return nil, failed(kind, name, err)
	}
	return &Histogram[L]{inst, sets}, nil
}

// Record adds one value.
func (h *Histogram[L]) Record(ctx context.Context, value float64, labels L) {
	if h.inst.Enabled(ctx) {
		h.inst.Record(ctx, value, h.sets.options(labels)...)
	}
}
