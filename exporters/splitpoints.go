package exporters

import "go.opentelemetry.io/otel/sdk/metric/metricdata"

// halvePoints splits a collection by its metrics, and a single metric by its points. The halves share the points
// with the original.
func halvePoints(rm *metricdata.ResourceMetrics) (a, b *metricdata.ResourceMetrics, ok bool) {
	metrics := 0
	for _, sm := range rm.ScopeMetrics {
		metrics += len(sm.Metrics)
	}
	if metrics > 1 {
		a, b = splitMetrics(rm, metrics/2)
		return a, b, true
	}
	for i, sm := range rm.ScopeMetrics {
		if len(sm.Metrics) == 0 {
			continue
		}
		m := sm.Metrics[0]
		first, second, ok := halveData(m.Data)
		if !ok {
			break
		}
		return onlyMetric(rm, i, m, first), onlyMetric(rm, i, m, second), true
	}
	return rm, nil, false
}

// splitMetrics returns the first n metrics as one collection, and the rest as another.
func splitMetrics(rm *metricdata.ResourceMetrics, n int) (a, b *metricdata.ResourceMetrics) {
	a, b = &metricdata.ResourceMetrics{Resource: rm.Resource}, &metricdata.ResourceMetrics{Resource: rm.Resource}
	for _, sm := range rm.ScopeMetrics {
		cut := min(n, len(sm.Metrics))
		n -= cut
		if cut > 0 {
			a.ScopeMetrics = append(a.ScopeMetrics, metricdata.ScopeMetrics{Scope: sm.Scope, Metrics: sm.Metrics[:cut]})
		}
		if cut < len(sm.Metrics) {
			b.ScopeMetrics = append(b.ScopeMetrics, metricdata.ScopeMetrics{Scope: sm.Scope, Metrics: sm.Metrics[cut:]})
		}
	}
	return a, b
}

// onlyMetric returns a collection of one metric of a scope, with other points.
func onlyMetric(rm *metricdata.ResourceMetrics, scope int, m metricdata.Metrics, data metricdata.Aggregation) *metricdata.ResourceMetrics {
	m.Data = data
	return &metricdata.ResourceMetrics{Resource: rm.Resource, ScopeMetrics: []metricdata.ScopeMetrics{
		{Scope: rm.ScopeMetrics[scope].Scope, Metrics: []metricdata.Metrics{m}},
	}}
}

func halveData(data metricdata.Aggregation) (a, b metricdata.Aggregation, ok bool) {
	switch d := data.(type) {
	case metricdata.Gauge[int64]:
		return halveGauge(d)
	case metricdata.Gauge[float64]:
		return halveGauge(d)
	case metricdata.Sum[int64]:
		return halveSum(d)
	case metricdata.Sum[float64]:
		return halveSum(d)
	case metricdata.Histogram[int64]:
		return halveHistogram(d)
	case metricdata.Histogram[float64]:
		return halveHistogram(d)
	case metricdata.ExponentialHistogram[int64]:
		return halveExponential(d)
	case metricdata.ExponentialHistogram[float64]:
		return halveExponential(d)
	case metricdata.Summary:
		first, second, ok := halves(d.DataPoints)
		return metricdata.Summary{DataPoints: first}, metricdata.Summary{DataPoints: second}, ok
	}
	return data, nil, false
}

func halveGauge[N int64 | float64](d metricdata.Gauge[N]) (a, b metricdata.Aggregation, ok bool) {
	first, second, ok := halves(d.DataPoints)
	return metricdata.Gauge[N]{DataPoints: first}, metricdata.Gauge[N]{DataPoints: second}, ok
}

func halveSum[N int64 | float64](d metricdata.Sum[N]) (a, b metricdata.Aggregation, ok bool) {
	first, second, ok := halves(d.DataPoints)
	part := func(points []metricdata.DataPoint[N]) metricdata.Sum[N] {
		return metricdata.Sum[N]{DataPoints: points, Temporality: d.Temporality, IsMonotonic: d.IsMonotonic}
	}
	return part(first), part(second), ok
}

func halveHistogram[N int64 | float64](d metricdata.Histogram[N]) (a, b metricdata.Aggregation, ok bool) {
	first, second, ok := halves(d.DataPoints)
	part := func(points []metricdata.HistogramDataPoint[N]) metricdata.Histogram[N] {
		return metricdata.Histogram[N]{DataPoints: points, Temporality: d.Temporality}
	}
	return part(first), part(second), ok
}

func halveExponential[N int64 | float64](d metricdata.ExponentialHistogram[N]) (a, b metricdata.Aggregation, ok bool) {
	first, second, ok := halves(d.DataPoints)
	part := func(points []metricdata.ExponentialHistogramDataPoint[N]) metricdata.ExponentialHistogram[N] {
		return metricdata.ExponentialHistogram[N]{DataPoints: points, Temporality: d.Temporality}
	}
	return part(first), part(second), ok
}
