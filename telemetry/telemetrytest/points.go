package telemetrytest

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// Point is the value of one instrument for one set of attributes.
type Point struct {
	// Name and Unit of the instrument.
	Name, Unit string
	Attributes attribute.Set
	// Value is the sum of a counter or a histogram, or the last value of a gauge.
	Value float64
	// Count is the number of values that a histogram has recorded. It is zero for other
	// instruments.
	Count uint64
	// Scope is the name of the meter: the import path of the package that made the instrument.
	Scope string
}

// String returns the name, the unit and the attributes, separated by spaces, such as
// "db.client.operation.duration s db.operation.name=get,db.system.name=memory".
func (p Point) String() string {
	return fmt.Sprintf("%s %s %s", p.Name, p.Unit, p.Attributes.Encoded(attribute.DefaultEncoder()))
}

// points collects from a reader.
func points(ctx context.Context, reader sdkmetric.Reader) ([]Point, error) {
	var collected metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &collected); err != nil {
		return nil, err
	}
	var all []Point
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			for _, p := range pointsOf(m.Data) {
				p.Name, p.Unit, p.Scope = m.Name, m.Unit, scope.Scope.Name
				all = append(all, p)
			}
		}
	}
	slices.SortFunc(all, func(a, b Point) int { return cmp.Compare(a.String(), b.String()) })
	return all, nil
}

// pointsOf returns the points of one instrument, without its name.
func pointsOf(data metricdata.Aggregation) []Point {
	switch data := data.(type) {
	case metricdata.Sum[int64]:
		return values(data.DataPoints)
	case metricdata.Sum[float64]:
		return values(data.DataPoints)
	case metricdata.Gauge[int64]:
		return values(data.DataPoints)
	case metricdata.Gauge[float64]:
		return values(data.DataPoints)
	case metricdata.Histogram[int64]:
		return histograms(data.DataPoints)
	case metricdata.Histogram[float64]:
		return histograms(data.DataPoints)
	default: // exponential histograms need a view, and summaries a bridge: a Recorder has neither
		return nil
	}
}

func values[N int64 | float64](from []metricdata.DataPoint[N]) (all []Point) {
	for _, p := range from {
		all = append(all, Point{Attributes: p.Attributes, Value: float64(p.Value)})
	}
	return all
}

func histograms[N int64 | float64](from []metricdata.HistogramDataPoint[N]) (all []Point) {
	for _, p := range from {
		all = append(all, Point{Attributes: p.Attributes, Value: float64(p.Sum), Count: p.Count})
	}
	return all
}
