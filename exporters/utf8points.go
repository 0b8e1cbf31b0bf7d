package exporters

import (
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// repairMetrics repairs one collection in place: it is the reader's own copy, which is filled anew each time. Data that the SDK
// shares with it, such as the attributes of exemplars, is replaced, not modified.
//
// Points whose attributes become equal are one series to the receiver. Sums and histograms of fixed buckets are added up, which
// gives the result of good text. Of gauges, the latest stays. Exponential histograms and summaries all stay, separately.
func repairMetrics(rm *metricdata.ResourceMetrics) {
	for i := range rm.ScopeMetrics {
		sm := &rm.ScopeMetrics[i]
		if !soundScope(&sm.Scope) {
			sm.Scope = repairScope(sm.Scope)
		}
		for j := range sm.Metrics {
			m := &sm.Metrics[j]
			m.Name, m.Description, m.Unit = repairText(m.Name), repairText(m.Description), repairText(m.Unit)
			m.Data = repairData(m.Data)
		}
	}
}

// repairData returns data itself, changed in place or not at all, unless points were merged.
func repairData(data metricdata.Aggregation) metricdata.Aggregation {
	switch d := data.(type) {
	case metricdata.Gauge[int64]:
		if shrink(&d.DataPoints, numberParts[int64], latest[int64]) {
			return d
		}
	case metricdata.Gauge[float64]:
		if shrink(&d.DataPoints, numberParts[float64], latest[float64]) {
			return d
		}
	case metricdata.Sum[int64]:
		if shrink(&d.DataPoints, numberParts[int64], total[int64]) {
			return d
		}
	case metricdata.Sum[float64]:
		if shrink(&d.DataPoints, numberParts[float64], total[float64]) {
			return d
		}
	case metricdata.Histogram[int64]:
		if shrink(&d.DataPoints, bucketParts[int64], addBuckets[int64]) {
			return d
		}
	case metricdata.Histogram[float64]:
		if shrink(&d.DataPoints, bucketParts[float64], addBuckets[float64]) {
			return d
		}
	case metricdata.ExponentialHistogram[int64]:
		shrink(&d.DataPoints, exponentialParts[int64], nil)
	case metricdata.ExponentialHistogram[float64]:
		shrink(&d.DataPoints, exponentialParts[float64], nil)
	case metricdata.Summary:
		shrink(&d.DataPoints, summaryParts, nil)
	}
	return data
}

// shrink repairs the points and merges those that become equal, if possible. It reports whether there are fewer of them.
//
// parts repairs the data of a point and returns its attributes. merge adds a point to another, or reports that it cannot.
func shrink[P any](points *[]P, parts func(*P) *attribute.Set, merge func(into, from *P) bool) bool {
	repaired := false
	for i := range *points {
		if set := parts(&(*points)[i]); !soundSet(set) {
			*set = repairSet(set)
			repaired = true
		}
	}
	if !repaired || merge == nil {
		return false
	}
	at := make(map[attribute.Distinct]int, len(*points))
	kept := (*points)[:0]
	for _, p := range *points {
		key := parts(&p).Equivalent()
		first, again := at[key]
		if again && merge(&kept[first], &p) {
			continue
		}
		if !again {
			at[key] = len(kept)
		}
		kept = append(kept, p)
	}
	// The reader reuses the points with their slices, so no slice may belong to two points.
	clear((*points)[len(kept):])
	fewer := len(kept) < len(*points)
	*points = kept
	return fewer
}

func numberParts[N int64 | float64](p *metricdata.DataPoint[N]) *attribute.Set {
	repairExemplars(p.Exemplars)
	return &p.Attributes
}

func bucketParts[N int64 | float64](p *metricdata.HistogramDataPoint[N]) *attribute.Set {
	repairExemplars(p.Exemplars)
	return &p.Attributes
}

func exponentialParts[N int64 | float64](p *metricdata.ExponentialHistogramDataPoint[N]) *attribute.Set {
	repairExemplars(p.Exemplars)
	return &p.Attributes
}

func summaryParts(p *metricdata.SummaryDataPoint) *attribute.Set { return &p.Attributes }

func repairExemplars[N int64 | float64](exemplars []metricdata.Exemplar[N]) {
	for i := range exemplars {
		if e := &exemplars[i]; !soundAttrs(e.FilteredAttributes) {
			e.FilteredAttributes = repairAttrs(e.FilteredAttributes)
		}
	}
}

func latest[N int64 | float64](into, from *metricdata.DataPoint[N]) bool {
	if !from.Time.Before(into.Time) {
		*into = *from
	}
	return true
}

func total[N int64 | float64](into, from *metricdata.DataPoint[N]) bool {
	into.Value += from.Value
	into.Exemplars = slices.Concat(into.Exemplars, from.Exemplars)
	if from.StartTime.Before(into.StartTime) {
		into.StartTime = from.StartTime
	}
	return true
}

func addBuckets[N int64 | float64](into, from *metricdata.HistogramDataPoint[N]) bool {
	if !slices.Equal(into.Bounds, from.Bounds) || len(into.BucketCounts) != len(from.BucketCounts) {
		return false
	}
	into.BucketCounts = slices.Clone(into.BucketCounts)
	for i, n := range from.BucketCounts {
		into.BucketCounts[i] += n
	}
	into.Count += from.Count
	into.Sum += from.Sum
	into.Min, into.Max = extreme(into.Min, from.Min, less[N]), extreme(into.Max, from.Max, more[N])
	into.Exemplars = slices.Concat(into.Exemplars, from.Exemplars)
	if from.StartTime.Before(into.StartTime) {
		into.StartTime = from.StartTime
	}
	return true
}

func less[N int64 | float64](a, b N) bool { return a < b }
func more[N int64 | float64](a, b N) bool { return a > b }

// extreme returns the further of two extrema. Either may be unknown.
func extreme[N int64 | float64](a, b metricdata.Extrema[N], further func(a, b N) bool) metricdata.Extrema[N] {
	va, known := a.Value()
	vb, other := b.Value()
	if !known || other && further(vb, va) {
		return b
	}
	return a
}
