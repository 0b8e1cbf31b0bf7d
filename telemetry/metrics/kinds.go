package metrics

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/otlptranslator"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// invalidMetric is what the exporter reports, without a name, of an instrument whose name another kind of instrument has on the page.
const invalidMetric = "invalid metric"

// kinds finds the instruments that Prometheus would show under one name, though they are of different kinds.
type kinds struct {
	reader sdkmetric.Reader
	namer  otlptranslator.MetricNamer
}

// conflicts returns an error for each such name. It collects once more, which changes nothing: readers of pages are cumulative.
func (k *kinds) conflicts() []error {
	var all metricdata.ResourceMetrics
	if err := k.reader.Collect(context.Background(), &all); err != nil {
		return nil
	}
	found := map[string][]string{} // descriptions of instruments, by the name on the page
	types := map[string]map[otlptranslator.MetricType]bool{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			kind, text := kindOf(m.Data)
			name, err := k.namer.Build(otlptranslator.Metric{Name: m.Name, Unit: m.Unit, Type: kind})
			if err != nil {
				continue // which the exporter reports
			}
			if types[name] == nil {
				types[name] = map[otlptranslator.MetricType]bool{}
			}
			types[name][kind] = true
			found[name] = append(found[name], fmt.Sprintf("the %s %q of scope %q", text, m.Name, scope.Scope.Name))
		}
	}
	var errs []error
	for name, instruments := range found {
		if len(types[name]) > 1 {
			slices.Sort(instruments)
			errs = append(errs, fmt.Errorf("telemetry/metrics: %s all have the name %q on the page, and only the kind that came first is shown: rename the others",
				strings.Join(instruments, ", "), name))
		}
	}
	return errs
}

// kindOf returns the kind of an instrument as the page knows it.
func kindOf(data metricdata.Aggregation) (otlptranslator.MetricType, string) {
	switch data := data.(type) {
	case metricdata.Sum[int64]:
		return sumKind(data.IsMonotonic)
	case metricdata.Sum[float64]:
		return sumKind(data.IsMonotonic)
	case metricdata.Histogram[int64], metricdata.Histogram[float64],
		metricdata.ExponentialHistogram[int64], metricdata.ExponentialHistogram[float64]:
		return otlptranslator.MetricTypeHistogram, "histogram"
	default:
		return otlptranslator.MetricTypeGauge, "gauge"
	}
}

// sumKind counts an up-down counter as a gauge, which it is for Prometheus.
func sumKind(monotonic bool) (otlptranslator.MetricType, string) {
	if monotonic {
		return otlptranslator.MetricTypeMonotonicCounter, "counter"
	}
	return otlptranslator.MetricTypeGauge, "up-down counter"
}
