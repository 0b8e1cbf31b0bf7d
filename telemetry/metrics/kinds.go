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

// invalidMetric is the exporter's error for an instrument whose name belongs to another kind of instrument on the page. It does not
// contain the name.
const invalidMetric = "invalid metric"

// kinds finds instruments of different kinds that Prometheus would show under one name.
type kinds struct {
	reader sdkmetric.Reader
	namer  otlptranslator.MetricNamer
}

// conflicts returns an error for each such name. It collects once more, which is harmless: the readers of pages are cumulative.
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

// kindOf returns the kind of an instrument on the page.
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

// sumKind returns the kind of a sum. For Prometheus an up-down counter is a gauge.
func sumKind(monotonic bool) (otlptranslator.MetricType, string) {
	if monotonic {
		return otlptranslator.MetricTypeMonotonicCounter, "counter"
	}
	return otlptranslator.MetricTypeGauge, "up-down counter"
}
