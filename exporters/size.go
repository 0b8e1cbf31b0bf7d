package exporters

import (
	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Sizes estimate the memory of an item: its structs, and the length of its strings and bytes. The protobuf encoding of an item is
// smaller. The resource and the scope are shared and do not count.
const (
	spanOverhead   = 512
	recordOverhead = 512
	pointOverhead  = 128
	eventOverhead  = 96
	linkOverhead   = 160
	attrOverhead   = 64 // an attribute.KeyValue
	valueOverhead  = 48 // an attribute.Value
)

func sizeOfSpan(s sdktrace.ReadOnlySpan) int64 {
	n := spanOverhead + len(s.Name()) + len(s.Status().Description) + sizeOfAttrs(s.Attributes())
	for _, e := range s.Events() {
		n += eventOverhead + len(e.Name) + sizeOfAttrs(e.Attributes)
	}
	for _, l := range s.Links() {
		n += linkOverhead + sizeOfAttrs(l.Attributes)
	}
	return int64(n)
}

func sizeOfRecord(r *sdklog.Record) int64 {
	n := recordOverhead + len(r.EventName()) + len(r.SeverityText()) + sizeOfValue(r.Body())
	r.WalkAttributes(func(kv attribute.KeyValue) bool {
		n += attrOverhead + len(kv.Key) + sizeOfValue(kv.Value)
		return true
	})
	return int64(n)
}

func sizeOfAttrs(attrs []attribute.KeyValue) (n int) {
	for i := range attrs {
		n += attrOverhead + len(attrs[i].Key) + sizeOfValue(attrs[i].Value)
	}
	return n
}

func sizeOfSet(s *attribute.Set) (n int) {
	for i := range s.Len() {
		kv, _ := s.Get(i)
		n += attrOverhead + len(kv.Key) + sizeOfValue(kv.Value)
	}
	return n
}

// sizeOfValue returns the size of a value beyond its struct. The attribute package copies lists and maps for each caller.
func sizeOfValue(v attribute.Value) (n int) {
	switch v.Type() {
	case attribute.STRING:
		return len(v.AsString())
	case attribute.BYTESLICE:
		return len(v.AsByteSlice())
	case attribute.BOOLSLICE:
		return len(v.AsBoolSlice())
	case attribute.INT64SLICE:
		return 8 * len(v.AsInt64Slice())
	case attribute.FLOAT64SLICE:
		return 8 * len(v.AsFloat64Slice())
	case attribute.STRINGSLICE:
		for _, s := range v.AsStringSlice() {
			n += 16 + len(s)
		}
	case attribute.SLICE:
		for _, item := range v.AsSlice() {
			n += valueOverhead + sizeOfValue(item)
		}
	case attribute.MAP:
		return sizeOfAttrs(v.AsMap())
	}
	return n
}

func sizeOfMetrics(rm *metricdata.ResourceMetrics) (n int64) {
	for _, sm := range rm.ScopeMetrics {
		for _, m := range sm.Metrics {
			n += int64(len(m.Name) + len(m.Description) + len(m.Unit) + sizeOfData(m.Data))
		}
	}
	return n
}

func sizeOfData(data metricdata.Aggregation) int {
	switch d := data.(type) {
	case metricdata.Gauge[int64]:
		return sizeOfPoints(d.DataPoints, sizeOfNumber[int64])
	case metricdata.Gauge[float64]:
		return sizeOfPoints(d.DataPoints, sizeOfNumber[float64])
	case metricdata.Sum[int64]:
		return sizeOfPoints(d.DataPoints, sizeOfNumber[int64])
	case metricdata.Sum[float64]:
		return sizeOfPoints(d.DataPoints, sizeOfNumber[float64])
	case metricdata.Histogram[int64]:
		return sizeOfPoints(d.DataPoints, sizeOfBuckets[int64])
	case metricdata.Histogram[float64]:
		return sizeOfPoints(d.DataPoints, sizeOfBuckets[float64])
	case metricdata.ExponentialHistogram[int64]:
		return sizeOfPoints(d.DataPoints, sizeOfExponential[int64])
	case metricdata.ExponentialHistogram[float64]:
		return sizeOfPoints(d.DataPoints, sizeOfExponential[float64])
	case metricdata.Summary:
		return sizeOfPoints(d.DataPoints, sizeOfQuantiles)
	}
	return 0
}

func sizeOfPoints[P any](points []P, size func(*P) int) (n int) {
	for i := range points {
		n += pointOverhead + size(&points[i])
	}
	return n
}

func sizeOfNumber[N int64 | float64](p *metricdata.DataPoint[N]) int {
	return sizeOfSet(&p.Attributes) + sizeOfExemplars(p.Exemplars)
}

func sizeOfBuckets[N int64 | float64](p *metricdata.HistogramDataPoint[N]) int {
	return sizeOfSet(&p.Attributes) + sizeOfExemplars(p.Exemplars) + 8*len(p.Bounds) + 8*len(p.BucketCounts)
}

func sizeOfExponential[N int64 | float64](p *metricdata.ExponentialHistogramDataPoint[N]) int {
	return sizeOfSet(&p.Attributes) + sizeOfExemplars(p.Exemplars) + 8*len(p.PositiveBucket.Counts) + 8*len(p.NegativeBucket.Counts)
}

func sizeOfQuantiles(p *metricdata.SummaryDataPoint) int {
	return sizeOfSet(&p.Attributes) + 16*len(p.QuantileValues)
}

func sizeOfExemplars[N int64 | float64](exemplars []metricdata.Exemplar[N]) (n int) {
	for i := range exemplars {
		n += pointOverhead + sizeOfAttrs(exemplars[i].FilteredAttributes)
	}
	return n
}
