package exporters

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/contrib/otelconf"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
)

func (t translation) metrics(s *settings) error {
	mp := t.model.MeterProvider
	if mp == nil {
		s.metrics.off = true
		return nil
	}
	// The program serves the page itself, whatever the file configures.
	s.metrics.to = []destination{{exporter: toPrometheus}}
	for i, r := range mp.Readers {
		at := fmt.Sprintf("meter_provider.readers[%d]", i)
		switch {
		case r.Periodic != nil && r.Pull == nil:
			d, err := t.periodic(at+".periodic", r.Periodic)
			if err != nil {
				return err
			}
			s.metrics.to = append(s.metrics.to, d)
		case r.Pull != nil && r.Periodic == nil:
			t.ignore(at+".pull", "the page is served where the program mounts Pipeline.MetricsHandler")
		default:
			return fmt.Errorf("%s is neither periodic nor pull", at)
		}
	}
	for i, v := range mp.Views {
		if v.Stream.AggregationCardinalityLimit != nil {
			t.ignore(fmt.Sprintf("meter_provider.views[%d].stream.aggregation_cardinality_limit", i), "the Go SDK has limits by reader only")
		}
		view, err := fileView(v)
		if err != nil {
			return fmt.Errorf("meter_provider.views[%d]: %w", i, err)
		}
		s.meter = append(s.meter, sdkmetric.WithView(view))
	}
	filter, err := exemplars(mp.ExemplarFilter)
	s.meter = append(s.meter, sdkmetric.WithExemplarFilter(filter))
	return err
}

func exemplars(name *otelconf.ExemplarFilter) (exemplar.Filter, error) {
	if name == nil {
		return exemplar.TraceBasedFilter, nil
	}
	switch *name {
	case "always_on":
		return exemplar.AlwaysOnFilter, nil
	case "always_off":
		return exemplar.AlwaysOffFilter, nil
	case "trace_based":
		return exemplar.TraceBasedFilter, nil
	}
	return nil, fmt.Errorf("meter_provider.exemplar_filter %q is none of always_on, always_off, trace_based", *name)
}

func (t translation) periodic(at string, r *otelconf.PeriodicMetricReader) (d destination, err error) {
	if len(r.Producers) > 0 {
		t.ignore(at+".producers", "set Options.BridgeRegistry to send a Prometheus registry")
	}
	d.periodic = periodicConfig{interval: time.Minute, timeout: fileMillis(r.Timeout, 30*time.Second)}
	if r.Interval != nil {
		d.periodic.interval = max(time.Duration(*r.Interval)*time.Millisecond, time.Millisecond)
	}
	if r.CardinalityLimits != nil {
		d.periodic.cardinality = cardinality(r.CardinalityLimits)
	}
	var temporality *otelconf.ExporterTemporalityPreference
	var histograms *otelconf.ExporterDefaultHistogramAggregation
	var http *otelconf.OTLPHttpExporter
	var grpc *otelconf.OTLPGrpcExporter
	if c := r.Exporter.Console; c != nil {
		temporality, histograms = c.TemporalityPreference, c.DefaultHistogramAggregation
	}
	if e := r.Exporter.OTLPHttp; e != nil {
		temporality, histograms = e.TemporalityPreference, e.DefaultHistogramAggregation
		http = &otelconf.OTLPHttpExporter{
			Endpoint: (*string)(e.Endpoint), Compression: (*string)(e.Compression), Headers: e.Headers,
			HeadersList: (*string)(e.HeadersList), Timeout: (*int)(e.Timeout), Encoding: e.Encoding, Tls: e.Tls,
		}
	}
	if e := r.Exporter.OTLPGrpc; e != nil {
		temporality, histograms = e.TemporalityPreference, e.DefaultHistogramAggregation
		grpc = &otelconf.OTLPGrpcExporter{
			Endpoint: (*string)(e.Endpoint), Compression: (*string)(e.Compression), Headers: e.Headers,
			HeadersList: (*string)(e.HeadersList), Timeout: (*int)(e.Timeout), Tls: e.Tls,
		}
	}
	if d.exporter, d.otlp, err = t.exporter(at, Metrics, r.Exporter.Console != nil, http, grpc); err != nil {
		return d, err
	}
	return d, preferences(at, &d.periodic, temporality, histograms)
}

// preferences defaults to cumulative temporality and explicit buckets. OTEL_ variables that the exporters would read do not count.
func preferences(
	at string, c *periodicConfig, t *otelconf.ExporterTemporalityPreference, h *otelconf.ExporterDefaultHistogramAggregation,
) error {
	c.temporality = sdkmetric.CumulativeTemporalitySelector
	if t != nil {
		switch *t {
		case otelconf.ExporterTemporalityPreferenceCumulative:
		case otelconf.ExporterTemporalityPreferenceDelta:
			c.temporality = sdkmetric.DeltaTemporalitySelector
		case otelconf.ExporterTemporalityPreferenceLowMemory:
			c.temporality = sdkmetric.LowMemoryTemporalitySelector
		default:
			return fmt.Errorf("%s: temporality_preference %q is none of cumulative, delta, low_memory", at, *t)
		}
	}
	c.aggregation = sdkmetric.DefaultAggregationSelector
	if h != nil {
		switch *h {
		case otelconf.ExporterDefaultHistogramAggregationExplicitBucketHistogram:
		case otelconf.ExporterDefaultHistogramAggregationBase2ExponentialBucketHistogram:
			c.aggregation = exponential
		default:
			return fmt.Errorf("%s: default_histogram_aggregation %q is none of explicit_bucket_histogram, "+
				"base2_exponential_bucket_histogram", at, *h)
		}
	}
	return nil
}

// exponential uses the specification's default sizes.
func exponential(kind sdkmetric.InstrumentKind) sdkmetric.Aggregation {
	if kind == sdkmetric.InstrumentKindHistogram {
		return sdkmetric.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20}
	}
	return sdkmetric.DefaultAggregationSelector(kind)
}

func cardinality(l *otelconf.CardinalityLimits) sdkmetric.CardinalityLimitSelector {
	limits := map[sdkmetric.InstrumentKind]*int{
		sdkmetric.InstrumentKindCounter:                 l.Counter,
		sdkmetric.InstrumentKindUpDownCounter:           l.UpDownCounter,
		sdkmetric.InstrumentKindHistogram:               l.Histogram,
		sdkmetric.InstrumentKindGauge:                   l.Gauge,
		sdkmetric.InstrumentKindObservableCounter:       l.ObservableCounter,
		sdkmetric.InstrumentKindObservableUpDownCounter: l.ObservableUpDownCounter,
		sdkmetric.InstrumentKindObservableGauge:         l.ObservableGauge,
	}
	return func(kind sdkmetric.InstrumentKind) (limit int, fallback bool) {
		v := limits[kind]
		if v == nil {
			v = l.Default
		}
		if v == nil {
			return 0, true
		}
		return *v, false
	}
}

func fileView(v otelconf.View) (sdkmetric.View, error) {
	kind, err := instrumentKind(v.Selector.InstrumentType)
	if err != nil {
		return nil, err
	}
	selector := sdkmetric.Instrument{
		Name: deref(v.Selector.InstrumentName), Unit: deref(v.Selector.Unit), Kind: kind,
		Scope: instrumentation.Scope{
			Name: deref(v.Selector.MeterName), Version: deref(v.Selector.MeterVersion), SchemaURL: deref(v.Selector.MeterSchemaUrl),
		},
	}
	if selector.Name == "" && selector.Unit == "" && kind == 0 && selector.Scope == (instrumentation.Scope{}) {
		return nil, errors.New("its selector selects nothing; name an instrument, a unit, a type or a meter")
	}
	stream := sdkmetric.Stream{
		Name: deref(v.Stream.Name), Description: deref(v.Stream.Description), Aggregation: aggregation(v.Stream.Aggregation),
	}
	if keys := v.Stream.AttributeKeys; keys != nil {
		stream.AttributeFilter = func(kv attribute.KeyValue) bool {
			key := string(kv.Key)
			return !matchesAny(keys.Excluded, key) && (len(keys.Included) == 0 || matchesAny(keys.Included, key))
		}
	}
	return sdkmetric.NewView(selector, stream), nil
}

// matchesAny reports whether a key matches one of the patterns. ? matches one character, * any number of them.
func matchesAny(patterns []string, key string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, key) })
}

func matches(pattern, text string) bool {
	for i, r := range pattern {
		if r == '*' {
			for rest := text; ; {
				if matches(pattern[i+1:], rest) {
					return true
				}
				if rest == "" {
					return false
				}
				_, size := utf8.DecodeRuneInString(rest)
				rest = rest[size:]
			}
		}
		first, size := utf8.DecodeRuneInString(text)
		if text == "" || r != '?' && r != first {
			return false
		}
		text = text[size:]
	}
	return text == ""
}

func deref[T ~*string](s T) string {
	if s == nil {
		return ""
	}
	return *s
}

func instrumentKind(t *otelconf.InstrumentType) (sdkmetric.InstrumentKind, error) {
	if t == nil {
		return 0, nil
	}
	kind := map[string]sdkmetric.InstrumentKind{
		"counter":                    sdkmetric.InstrumentKindCounter,
		"gauge":                      sdkmetric.InstrumentKindGauge,
		"histogram":                  sdkmetric.InstrumentKindHistogram,
		"up_down_counter":            sdkmetric.InstrumentKindUpDownCounter,
		"observable_counter":         sdkmetric.InstrumentKindObservableCounter,
		"observable_gauge":           sdkmetric.InstrumentKindObservableGauge,
		"observable_up_down_counter": sdkmetric.InstrumentKindObservableUpDownCounter,
	}[string(*t)]
	if kind == 0 {
		return 0, fmt.Errorf("instrument_type %q is unknown", *t)
	}
	return kind, nil
}

// aggregation returns the aggregation for a; nil leaves the choice to the reader.
func aggregation(a *otelconf.Aggregation) sdkmetric.Aggregation {
	noMinMax := func(record *bool) bool { return record != nil && !*record }
	switch {
	case a == nil || a.Default != nil:
		return nil
	case a.Drop != nil:
		return sdkmetric.AggregationDrop{}
	case a.Sum != nil:
		return sdkmetric.AggregationSum{}
	case a.LastValue != nil:
		return sdkmetric.AggregationLastValue{}
	case a.ExplicitBucketHistogram != nil:
		h := a.ExplicitBucketHistogram
		e := sdkmetric.AggregationExplicitBucketHistogram{Boundaries: h.Boundaries, NoMinMax: noMinMax(h.RecordMinMax)}
		if h.Boundaries == nil {
			e.Boundaries = sdkmetric.DefaultAggregationSelector(sdkmetric.InstrumentKindHistogram).(sdkmetric.AggregationExplicitBucketHistogram).Boundaries
		}
		return e
	case a.Base2ExponentialBucketHistogram != nil:
		h := a.Base2ExponentialBucketHistogram
		e := sdkmetric.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20, NoMinMax: noMinMax(h.RecordMinMax)}
		if h.MaxSize != nil {
			e.MaxSize = int32(*h.MaxSize)
		}
		if h.MaxScale != nil {
			e.MaxScale = int32(*h.MaxScale)
		}
		return e
	}
	return nil
}
