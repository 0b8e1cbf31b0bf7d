package metrics

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// scopeLabel is on each series of an OpenTelemetry exporter, unless its options omit the label.
const scopeLabel = "otel_scope_name"

// targetInfo is the family in which an OpenTelemetry exporter presents its resource.
const targetInfo = "target_info"

// BridgeOptions are the options of NewBridge.
type BridgeOptions struct {
	// ErrorHandler is called once for each problem. Default: the OpenTelemetry error handler.
	ErrorHandler func(error)
}

// NewBridge returns a producer of the metrics of a Prometheus registry, for sdkmetric.WithProducer on the reader of an
// OTLP pipeline. The names stay unchanged. It converts with the OpenTelemetry project's own bridge, made robust:
//
//   - Metrics that could be gathered are produced even if something else failed or panicked. Produce itself never
//     fails, because a reader exports nothing at all when one of its producers fails.
//   - Series of an OpenTelemetry exporter in the same registry, identified by the label otel_scope_name, and the family
//     target_info are left out: they have a pipeline of their own. If g is the Gatherer of a [Prometheus], the registry
//     behind it is bridged.
//   - Exemplars have binary trace and span ids. (The project's bridge leaves them as hexadecimal text, for which a
//     collector refuses the whole request.)
//
// Gauge histograms have no counterpart in OpenTelemetry; they are left out and reported.
func NewBridge(g prometheus.Gatherer, opts *BridgeOptions) sdkmetric.Producer {
	if opts == nil {
		opts = &BridgeOptions{}
	}
	if p, ok := g.(*page); ok {
		g = p.existing
	}
	if g == nil {
		g = prometheus.Gatherers{}
	}
	return &producer{gatherer: g, report: newReporter(opts.ErrorHandler)}
}

type producer struct {
	gatherer prometheus.Gatherer
	report   *reporter
}

// Produce implements sdkmetric.Producer. The error is always nil.
func (p *producer) Produce(ctx context.Context) ([]metricdata.ScopeMetrics, error) {
	families, err := gather(p.gatherer)
	for _, err := range flatten(err) {
		p.report.once(fmt.Errorf("telemetry/metrics: gathering the registry to bridge: %w", err))
	}
	var all []metricdata.ScopeMetrics
	for _, family := range families {
		family = withoutOurs(family)
		if len(family.GetMetric()) == 0 {
			continue
		}
		if family.GetType() == dto.MetricType_GAUGE_HISTOGRAM {
			p.report.once(fmt.Errorf("telemetry/metrics: %q is a gauge histogram, which OpenTelemetry does not have: "+
				"it is not bridged", family.GetName()))
			continue
		}
		converted, err := convert(ctx, family)
		if err != nil {
			p.report.once(fmt.Errorf("telemetry/metrics: %q is not bridged: %w", family.GetName(), err))
		}
		all = join(all, converted)
	}
	return all, nil
}

// convert converts one family to OpenTelemetry metrics. It converts each family alone, since the bridge panics on
// unexpected input, such as native histograms of floats.
func convert(ctx context.Context, family *dto.MetricFamily) (converted []metricdata.ScopeMetrics, err error) {
	defer func() {
		if v := recover(); v != nil {
			converted, err = nil, fmt.Errorf("panic: %v", v)
		}
	}()
	one := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return []*dto.MetricFamily{family}, nil })
	converted, err = bridge.NewMetricProducer(bridge.WithGatherer(one)).Produce(ctx)
	for _, scope := range converted {
		for _, m := range scope.Metrics {
			decodeExemplars(m.Data)
		}
	}
	return converted, err
}

// join adds the metrics of one family to the others. There is only one scope, that of the bridge.
func join(all, more []metricdata.ScopeMetrics) []metricdata.ScopeMetrics {
	if len(all) == 0 {
		return more
	}
	for _, scope := range more {
		all[0].Metrics = append(all[0].Metrics, scope.Metrics...)
	}
	return all
}

// withoutOurs returns the family without the series of an OpenTelemetry exporter, or the same family if it has none.
func withoutOurs(family *dto.MetricFamily) *dto.MetricFamily {
	if family.GetName() == targetInfo {
		return nil
	}
	var rest []*dto.Metric
	for _, m := range family.GetMetric() {
		if !isOurs(m) {
			rest = append(rest, m)
		}
	}
	if len(rest) == len(family.GetMetric()) {
		return family
	}
	return &dto.MetricFamily{Name: family.Name, Help: family.Help, Type: family.Type, Unit: family.Unit, Metric: rest}
}

func isOurs(m *dto.Metric) bool {
	for _, label := range m.GetLabel() {
		if label.GetName() == scopeLabel {
			return true
		}
	}
	return false
}

// decodeExemplars converts the ids of exemplars to the binary form of OTLP. An id that is not hexadecimal text of the
// right length is left out; the exemplar keeps its value.
func decodeExemplars(data metricdata.Aggregation) {
	switch data := data.(type) {
	case metricdata.Sum[float64]:
		for _, point := range data.DataPoints {
			decodeIDs(point.Exemplars)
		}
	case metricdata.Histogram[float64]:
		for _, point := range data.DataPoints {
			decodeIDs(point.Exemplars)
		}
	}
}

func decodeIDs(exemplars []metricdata.Exemplar[float64]) {
	for i := range exemplars {
		exemplars[i].TraceID = decodeID(exemplars[i].TraceID, 16)
		exemplars[i].SpanID = decodeID(exemplars[i].SpanID, 8)
	}
}

func decodeID(text []byte, size int) []byte {
	id := make([]byte, hex.DecodedLen(len(text)))
	if n, err := hex.Decode(id, text); err != nil || n != size {
		return nil
	}
	return id
}
