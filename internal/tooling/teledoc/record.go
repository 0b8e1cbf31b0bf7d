package main

import (
	"context"
	"errors"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/telemetry"
)

// record is the emitted telemetry of one package. A name and a kind identify a row in it.
type record struct {
	mu      sync.Mutex
	spans   map[row]*attrs
	metrics map[row]*attrs
	events  map[row]*attrs

	reader *sdkmetric.ManualReader
}

// row is one line of a table: the name and kind of the telemetry.
type row struct{ name, kind, unit, description string }

// attrs counts in how many emissions each attribute occurred.
type attrs struct {
	total int
	seen  map[attribute.Key]int
}

func (a *attrs) add(set []attribute.KeyValue) {
	a.total++
	for _, kv := range set {
		a.seen[kv.Key]++
	}
}

// list returns the keys in order. always reports whether every emission had a key.
func (a *attrs) list() (keys []attribute.Key, always func(attribute.Key) bool) {
	for k := range a.seen {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys, func(k attribute.Key) bool { return a.seen[k] == a.total }
}

func newRecord() *record {
	return &record{
		spans: map[row]*attrs{}, metrics: map[row]*attrs{}, events: map[row]*attrs{},
		reader: sdkmetric.NewManualReader(),
	}
}

// providers returns handles on an SDK that writes into the record.
func (r *record) providers() telemetry.Providers {
	p := telemetry.Off()
	p.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spanTap{r}))
	p.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader))
	p.LoggerProvider = sdklog.NewLoggerProvider(sdklog.WithProcessor(eventTap{r}))
	p.Propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	return p
}

func (r *record) note(table map[row]*attrs, key row, set []attribute.KeyValue) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if table[key] == nil {
		table[key] = &attrs{seen: map[attribute.Key]int{}}
	}
	table[key].add(set)
}

// collect reads the metrics into the record. A situation without a meter provider has none. A situation that shuts its provider down has
// already collected.
func (r *record) collect(ctx context.Context) error {
	var rm metricdata.ResourceMetrics
	err := r.reader.Collect(ctx, &rm)
	if errors.Is(err, sdkmetric.ErrReaderShutdown) || errors.Is(err, sdkmetric.ErrReaderNotRegistered) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			kind, sets := points(m.Data)
			for _, set := range sets {
				r.note(r.metrics, row{m.Name, kind, m.Unit, m.Description}, set.ToSlice())
			}
		}
	}
	return nil
}

// points returns the kind of instrument that made the data, and the attribute set of each point.
func points(data metricdata.Aggregation) (kind string, sets []attribute.Set) {
	switch d := data.(type) {
	case metricdata.Histogram[float64]:
		return "histogram", pick(d.DataPoints, func(p metricdata.HistogramDataPoint[float64]) attribute.Set { return p.Attributes })
	case metricdata.Histogram[int64]:
		return "histogram", pick(d.DataPoints, func(p metricdata.HistogramDataPoint[int64]) attribute.Set { return p.Attributes })
	case metricdata.Sum[int64]:
		return sum(d.IsMonotonic), pick(d.DataPoints, func(p metricdata.DataPoint[int64]) attribute.Set { return p.Attributes })
	case metricdata.Sum[float64]:
		return sum(d.IsMonotonic), pick(d.DataPoints, func(p metricdata.DataPoint[float64]) attribute.Set { return p.Attributes })
	case metricdata.Gauge[int64]:
		return "gauge", pick(d.DataPoints, func(p metricdata.DataPoint[int64]) attribute.Set { return p.Attributes })
	case metricdata.Gauge[float64]:
		return "gauge", pick(d.DataPoints, func(p metricdata.DataPoint[float64]) attribute.Set { return p.Attributes })
	}
	return "unknown", nil
}

func sum(monotonic bool) string {
	if monotonic {
		return "counter"
	}
	return "updowncounter"
}

func pick[P any](points []P, set func(P) attribute.Set) []attribute.Set {
	sets := make([]attribute.Set, len(points))
	for i, p := range points {
		sets[i] = set(p)
	}
	return sets
}

// spanTap writes each ended span into the record.
type spanTap struct{ r *record }

func (t spanTap) OnEnd(s sdktrace.ReadOnlySpan) {
	t.r.note(t.r.spans, row{name: s.Name(), kind: s.SpanKind().String()}, s.Attributes())
}
func (spanTap) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (spanTap) Shutdown(context.Context) error                  { return nil }
func (spanTap) ForceFlush(context.Context) error                { return nil }

// eventTap writes each log record that has an EventName into the record.
type eventTap struct{ r *record }

func (t eventTap) OnEmit(_ context.Context, rec *sdklog.Record) error {
	if rec.EventName() == "" {
		return nil
	}
	var set []attribute.KeyValue
	rec.WalkAttributes(func(kv attribute.KeyValue) bool {
		set = append(set, kv)
		return true
	})
	t.r.note(t.r.events, row{name: rec.EventName(), kind: rec.Severity().String()}, set)
	return nil
}
func (eventTap) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }
func (eventTap) Shutdown(context.Context) error                         { return nil }
func (eventTap) ForceFlush(context.Context) error                       { return nil }
