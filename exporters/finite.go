package exporters

import (
	"math"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// JSON has no NaN and no infinity, and an encoder rejects everything around one. So the console shows an attribute that is not finite
// as the text that protobuf's JSON mapping has for it, and leaves out such a data point. The resource, and the scopes of loggers,
// cannot be changed later, so they are made finite for all exporters.

func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }

// finiteValue replaces numbers that are not finite by text, and reports whether there were any.
func finiteValue(v attribute.Value) (attribute.Value, bool) {
	switch v.Type() {
	case attribute.FLOAT64:
		if f := v.AsFloat64(); !finite(f) {
			return attribute.StringValue(numberText(f)), true
		}
	case attribute.FLOAT64SLICE:
		return finiteList(v.AsFloat64Slice(), attribute.Float64Value, v)
	case attribute.SLICE:
		return finiteList(v.AsSlice(), func(item attribute.Value) attribute.Value { return item }, v)
	case attribute.MAP:
		if attrs, changed := finiteAttrs(v.AsMap()); changed {
			return attribute.MapValue(attrs...), true
		}
	}
	return v, false
}

func finiteList[E any](items []E, value func(E) attribute.Value, all attribute.Value) (attribute.Value, bool) {
	values, changed := make([]attribute.Value, len(items)), false
	for i, item := range items {
		v, other := finiteValue(value(item))
		values[i], changed = v, changed || other
	}
	if !changed {
		return all, false
	}
	return attribute.SliceValue(values...), true
}

// numberText returns protobuf's JSON text for a number that JSON cannot express.
func numberText(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	default:
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
}

// finiteAttrs returns attrs itself if all are finite.
func finiteAttrs(attrs []attribute.KeyValue) ([]attribute.KeyValue, bool) {
	var changed []attribute.KeyValue
	for i, kv := range attrs {
		v, other := finiteValue(kv.Value)
		if !other {
			continue
		}
		if changed == nil {
			changed = append(changed, attrs...)
		}
		changed[i].Value = v
	}
	if changed == nil {
		return attrs, false
	}
	return changed, true
}

func finiteSet(s attribute.Set) attribute.Set {
	for i := range s.Len() {
		kv, _ := s.Get(i)
		if _, other := finiteValue(kv.Value); other {
			attrs, _ := finiteAttrs(s.ToSlice())
			return attribute.NewSet(attrs...)
		}
	}
	return s
}

func finiteScope(s instrumentation.Scope) instrumentation.Scope {
	s.Attributes = finiteSet(s.Attributes)
	return s
}

// finiteSpan returns s itself if all of its attributes are finite.
func finiteSpan(s sdktrace.ReadOnlySpan) sdktrace.ReadOnlySpan {
	_, changed := finiteAttrs(s.Attributes())
	for _, e := range s.Events() {
		_, other := finiteAttrs(e.Attributes)
		changed = changed || other
	}
	for _, l := range s.Links() {
		_, other := finiteAttrs(l.Attributes)
		changed = changed || other
	}
	scope := s.InstrumentationScope()
	if set := finiteSet(scope.Attributes); !changed && set.Equals(&scope.Attributes) {
		return s
	}
	same := func(text string) string { return text }
	attrs := func(attrs []attribute.KeyValue) []attribute.KeyValue {
		attrs, _ = finiteAttrs(attrs)
		return attrs
	}
	return rewriteSpan(s, same, attrs, finiteScope)
}

// makeFinite changes a record in place. The record is the batcher's own copy.
func makeFinite(r *sdklog.Record) {
	if body, changed := finiteValue(r.Body()); changed {
		r.SetBody(body)
	}
	attrs := make([]attribute.KeyValue, 0, r.AttributesLen())
	r.WalkAttributes(func(kv attribute.KeyValue) bool {
		attrs = append(attrs, kv)
		return true
	})
	if attrs, changed := finiteAttrs(attrs); changed {
		r.SetAttributes(attrs...)
	}
}

// finiteMetrics returns the collection without the points that are not finite. It may change the points that it keeps.
func finiteMetrics(rm *metricdata.ResourceMetrics) *metricdata.ResourceMetrics {
	kept := &metricdata.ResourceMetrics{Resource: rm.Resource}
	for _, sm := range rm.ScopeMetrics {
		scope := metricdata.ScopeMetrics{Scope: finiteScope(sm.Scope)}
		for _, m := range sm.Metrics {
			if m.Data = finiteData(m.Data); pointsOf(m.Data) > 0 {
				scope.Metrics = append(scope.Metrics, m)
			}
		}
		kept.ScopeMetrics = append(kept.ScopeMetrics, scope)
	}
	return kept
}

func finiteData(data metricdata.Aggregation) metricdata.Aggregation {
	switch d := data.(type) {
	case metricdata.Gauge[int64]:
		d.DataPoints = keepFinite(d.DataPoints, finiteNumber[int64])
		return d
	case metricdata.Gauge[float64]:
		d.DataPoints = keepFinite(d.DataPoints, finiteNumber[float64])
		return d
	case metricdata.Sum[int64]:
		d.DataPoints = keepFinite(d.DataPoints, finiteNumber[int64])
		return d
	case metricdata.Sum[float64]:
		d.DataPoints = keepFinite(d.DataPoints, finiteNumber[float64])
		return d
	case metricdata.Histogram[int64]:
		d.DataPoints = keepFinite(d.DataPoints, finiteBuckets[int64])
		return d
	case metricdata.Histogram[float64]:
		d.DataPoints = keepFinite(d.DataPoints, finiteBuckets[float64])
		return d
	case metricdata.ExponentialHistogram[int64]:
		d.DataPoints = keepFinite(d.DataPoints, finiteExponential[int64])
		return d
	case metricdata.ExponentialHistogram[float64]:
		d.DataPoints = keepFinite(d.DataPoints, finiteExponential[float64])
		return d
	case metricdata.Summary:
		d.DataPoints = keepFinite(d.DataPoints, finiteQuantiles)
		return d
	}
	return data
}

// keepFinite returns the points that ok accepts. ok may change them.
func keepFinite[P any](points []P, ok func(*P) bool) []P {
	kept := make([]P, 0, len(points))
	for _, p := range points {
		if ok(&p) {
			kept = append(kept, p)
		}
	}
	return kept
}

func finiteNumber[N int64 | float64](p *metricdata.DataPoint[N]) bool {
	p.Attributes, p.Exemplars = finiteSet(p.Attributes), finiteExemplars(p.Exemplars)
	return finite(float64(p.Value))
}

func finiteBuckets[N int64 | float64](p *metricdata.HistogramDataPoint[N]) bool {
	p.Attributes, p.Exemplars = finiteSet(p.Attributes), finiteExemplars(p.Exemplars)
	for _, bound := range p.Bounds {
		if !finite(bound) {
			return false
		}
	}
	return finite(float64(p.Sum)) && finiteExtrema(p.Min) && finiteExtrema(p.Max)
}

func finiteExponential[N int64 | float64](p *metricdata.ExponentialHistogramDataPoint[N]) bool {
	p.Attributes, p.Exemplars = finiteSet(p.Attributes), finiteExemplars(p.Exemplars)
	return finite(float64(p.Sum)) && finite(p.ZeroThreshold) && finiteExtrema(p.Min) && finiteExtrema(p.Max)
}

func finiteQuantiles(p *metricdata.SummaryDataPoint) bool {
	p.Attributes = finiteSet(p.Attributes)
	for _, q := range p.QuantileValues {
		if !finite(q.Value) || !finite(q.Quantile) {
			return false
		}
	}
	return finite(p.Sum)
}

func finiteExtrema[N int64 | float64](e metricdata.Extrema[N]) bool {
	v, known := e.Value()
	return !known || finite(float64(v))
}

func finiteExemplars[N int64 | float64](exemplars []metricdata.Exemplar[N]) []metricdata.Exemplar[N] {
	return keepFinite(exemplars, func(e *metricdata.Exemplar[N]) bool {
		e.FilteredAttributes, _ = finiteAttrs(e.FilteredAttributes)
		return finite(float64(e.Value))
	})
}
