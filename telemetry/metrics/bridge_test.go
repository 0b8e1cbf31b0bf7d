package metrics_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/go-os/go-os/telemetry/metrics"
)

// bridge collects the metrics of a registry through a reader, like an OTLP pipeline.
func bridge(t *testing.T, g prometheus.Gatherer, handle func(error)) map[string]metricdata.Aggregation {
	t.Helper()
	producer := metrics.NewBridge(g, &metrics.BridgeOptions{ErrorHandler: handle})
	reader := sdkmetric.NewManualReader(sdkmetric.WithProducer(producer))
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	defer func() { _ = mp.Shutdown(context.Background()) }()
	all := make(map[string]metricdata.Aggregation)
	for range 2 {
		var got metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &got); err != nil {
			t.Fatalf("the reader fails, so that nothing is exported: %v", err)
		}
		for _, scope := range got.ScopeMetrics {
			for _, m := range scope.Metrics {
				all[m.Name] = m.Data
			}
		}
		if len(got.ScopeMetrics) > 1 {
			t.Errorf("the bridge has made %d scopes, want one", len(got.ScopeMetrics))
		}
	}
	return all
}

func names(of map[string]metricdata.Aggregation) []string {
	var all []string
	for name := range of {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func TestBridgeConverts(t *testing.T) {
	registry := prometheus.NewRegistry()
	jobs := prometheus.NewCounter(prometheus.CounterOpts{Name: "jobs_total"})
	size := prometheus.NewSummary(prometheus.SummaryOpts{Name: "size_bytes"})
	latency := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "latency_seconds", Buckets: []float64{1}})
	native := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "native_seconds", NativeHistogramBucketFactor: 1.1})
	registry.MustRegister(jobs, size, latency, native)
	jobs.Add(3)
	size.Observe(5)
	latency.Observe(.5)
	native.Observe(.5)

	var reported problems
	got := bridge(t, registry, reported.handle)
	equal(t, "bridged", names(got), []string{"jobs_total", "latency_seconds", "native_seconds", "size_bytes"})
	if sum, ok := got["jobs_total"].(metricdata.Sum[float64]); !ok || sum.DataPoints[0].Value != 3 || !sum.IsMonotonic {
		t.Errorf("jobs_total is %+v", got["jobs_total"])
	}
	if h, ok := got["latency_seconds"].(metricdata.Histogram[float64]); !ok || h.DataPoints[0].Sum != .5 {
		t.Errorf("latency_seconds is %+v", got["latency_seconds"])
	}
	if _, ok := got["native_seconds"].(metricdata.ExponentialHistogram[float64]); !ok {
		t.Errorf("native_seconds is %+v", got["native_seconds"])
	}
	reported.want(t)
}

func TestBridgeKeepsWhatCouldBeGathered(t *testing.T) {
	for name, bad := range map[string]prometheus.Collector{"fails": failing{}, "panics": failing{panics: true}} {
		t.Run("a collector "+name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			registry.MustRegister(bad, prometheus.NewGauge(prometheus.GaugeOpts{Name: "good"}))
			var reported problems
			equal(t, "bridged", names(bridge(t, registry, reported.handle)), []string{"good"})
			if got := len(reported.errs); got != 1 {
				t.Errorf("%d problems were reported in two collections, want it once: %v", got, reported.errs)
			}
		})
	}
}

func TestBridgeSurvivesAGatherer(t *testing.T) {
	for name, g := range map[string]prometheus.Gatherer{
		"that fails":  prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return nil, errors.New("down") }),
		"that panics": prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { panic("down") }),
	} {
		t.Run(name, func(t *testing.T) {
			var reported problems
			equal(t, "bridged", names(bridge(t, g, reported.handle)), nil)
			reported.want(t, "down")
		})
	}
	if got := bridge(t, nil, nil); len(got) != 0 {
		t.Errorf("no registry was bridged as %v", got)
	}
}

// A histogram of floats makes the conversion panic, and a gauge histogram is unknown to it. Neither may affect the
// other metrics.
func TestBridgeSkipsWhatItCanNotConvert(t *testing.T) {
	floats := &dto.Histogram{
		SampleCountFloat: ptr(1.5), Schema: ptr(int32(0)), ZeroThreshold: ptr(.1),
		PositiveSpan: []*dto.BucketSpan{{Offset: ptr(int32(0)), Length: ptr(uint32(1))}}, PositiveCount: []float64{1.5},
	}
	g := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		return []*dto.MetricFamily{
			{Name: ptr("empty"), Type: dto.MetricType_GAUGE.Enum()},
			{Name: ptr("floats"), Type: dto.MetricType_HISTOGRAM.Enum(), Metric: []*dto.Metric{{Histogram: floats}}},
			{Name: ptr("gauges"), Type: dto.MetricType_GAUGE_HISTOGRAM.Enum(), Metric: []*dto.Metric{{Histogram: floats}}},
			{Name: ptr("good"), Type: dto.MetricType_GAUGE.Enum(), Metric: []*dto.Metric{{Gauge: &dto.Gauge{Value: ptr(1.)}}}},
		}, nil
	})
	var reported problems
	equal(t, "bridged", names(bridge(t, g, reported.handle)), []string{"good"})
	reported.want(t, `"floats" is not bridged: panic`, `"gauges" is a gauge histogram`)
}

func ptr[T any](v T) *T { return &v }

// The registry of the program already has an OpenTelemetry exporter in it, whose metrics have a pipeline to OTLP as
// well.
func TestBridgeLeavesOurOwnOut(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "theirs"}))
	exporter, err := otelprom.New(otelprom.WithRegisterer(registry))
	if err != nil {
		t.Fatal(err)
	}
	count(t, sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter)).Meter("test"), "ours")
	if families, err := registry.Gather(); err != nil || len(families) != 3 {
		t.Fatalf("the registry has %v (%v), want ours, target_info and theirs", families, err)
	}
	equal(t, "bridged", names(bridge(t, registry, nil)), []string{"theirs"})
}

func TestBridgeOfAPageBridgesTheRegistryBehindIt(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "theirs"}))
	page := newPage(t, metrics.PrometheusOptions{Existing: registry, OmitScopeLabels: true})
	count(t, meter(t, page), "ours")
	equal(t, "bridged", names(bridge(t, page.Gatherer(), nil)), []string{"theirs"})
	equal(t, "bridged of nothing", names(bridge(t, newPage(t, metrics.PrometheusOptions{}).Gatherer(), nil)), nil)
}

func TestBridgeMakesExemplarIDsBinary(t *testing.T) {
	const traceID, spanID = "0102030405060708090a0b0c0d0e0f10", "0102030405060708"
	registry := prometheus.NewRegistry()
	jobs := prometheus.NewCounter(prometheus.CounterOpts{Name: "jobs_total"})
	latency := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "latency_seconds", Buckets: []float64{1}})
	odd := prometheus.NewCounter(prometheus.CounterOpts{Name: "odd_total"})
	registry.MustRegister(jobs, latency, odd)
	labels := prometheus.Labels{"trace_id": traceID, "span_id": spanID}
	jobs.(prometheus.ExemplarAdder).AddWithExemplar(1, labels)
	latency.(prometheus.ExemplarObserver).ObserveWithExemplar(.5, labels)
	odd.(prometheus.ExemplarAdder).AddWithExemplar(1, prometheus.Labels{"trace_id": "abcd", "span_id": "none", "order": "7"})

	got := bridge(t, registry, nil)
	for name, exemplars := range map[string][]metricdata.Exemplar[float64]{
		"jobs_total":      got["jobs_total"].(metricdata.Sum[float64]).DataPoints[0].Exemplars,
		"latency_seconds": got["latency_seconds"].(metricdata.Histogram[float64]).DataPoints[0].Exemplars,
	} {
		if len(exemplars) != 1 || len(exemplars[0].TraceID) != 16 || len(exemplars[0].SpanID) != 8 ||
			exemplars[0].TraceID[15] != 0x10 || exemplars[0].SpanID[7] != 8 {
			t.Errorf("%s has the exemplars %+v, want one with ids of 16 and 8 bytes", name, exemplars)
		}
	}
	e := got["odd_total"].(metricdata.Sum[float64]).DataPoints[0].Exemplars[0]
	if len(e.TraceID) != 0 || len(e.SpanID) != 0 || !strings.Contains(string(e.FilteredAttributes[0].Key), "order") {
		t.Errorf("an exemplar without a proper id is %+v, want it without one", e)
	}
}
