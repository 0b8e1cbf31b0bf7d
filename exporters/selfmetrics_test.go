package exporters

import (
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/semconv/v1.43.0/otelconv"
)

type named interface {
	Name() string
	Unit() string
}

// TestSelfMetricsAreThoseOfTheConventions compares names, units and numbers with the typed conventions and with Health.
func TestSelfMetricsAreThoseOfTheConventions(t *testing.T) {
	peer := startPeer(t)
	peer.answering(func(signal Signal, request int) answer {
		switch {
		case signal == Logs:
			return answer{status: 400}
		case signal == Traces && request == 2:
			return answer{delay: 2 * time.Second}
		}
		return answer{}
	})
	reader := sdkmetric.NewManualReader()
	p, _ := setup(t, Options{
		Endpoint: peer.endpoint(HTTP), MetricReaders: []sdkmetric.Reader{reader}, QueueSize: 50, BatchSize: 50, BatchDelay: time.Hour,
		NoRuntimeMetrics: true,
	})
	tracer := p.Providers().Tracer("t")
	spans := func(n int) {
		for range n {
			_, span := tracer.Start(t.Context(), "a")
			span.End()
		}
	}
	spans(40)
	p.Logger().Info("refused")
	_ = p.ForceFlush(t.Context())
	spans(50) // a full batch, which the peer accepts slowly
	eventually(t, 5*time.Second, saying("the batch is on its way"), func() bool { return peer.requestCount(Traces) == 2 })
	spans(60)
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	got := map[string]metricdata.Metrics{}
	for _, sm := range rm.ScopeMetrics {
		for _, m := range sm.Metrics {
			got[m.Name] = m
		}
	}
	for _, want := range []named{
		otelconv.SDKProcessorSpanProcessed{}, otelconv.SDKProcessorSpanQueueSize{}, otelconv.SDKProcessorSpanQueueCapacity{},
		otelconv.SDKProcessorLogProcessed{}, otelconv.SDKProcessorLogQueueSize{}, otelconv.SDKProcessorLogQueueCapacity{},
		otelconv.SDKExporterSpanExported{}, otelconv.SDKExporterSpanInflight{},
		otelconv.SDKExporterLogExported{}, otelconv.SDKExporterLogInflight{},
		otelconv.SDKExporterMetricDataPointExported{}, otelconv.SDKExporterMetricDataPointInflight{},
		otelconv.SDKExporterOperationDuration{},
	} {
		if m, ok := got[want.Name()]; !ok || m.Unit != want.Unit() {
			t.Errorf("%s {%s}: have it %t, with the unit %q", want.Name(), want.Unit(), ok, m.Unit)
		}
	}
	for _, c := range []struct {
		name, kind string
		want       int64
	}{
		{"otel.sdk.processor.span.processed", "", 90},
		{"otel.sdk.processor.span.processed", "queue_full", 10},
		{"otel.sdk.exporter.span.exported", "", 40},
		{"otel.sdk.exporter.span.inflight", "", 50},
		{"otel.sdk.processor.span.queue.size", "", 50},
		{"otel.sdk.processor.span.queue.capacity", "", 50},
		{"otel.sdk.exporter.log.exported", "400", 1},
	} {
		if n := value(got[c.name], c.kind); n != c.want {
			t.Errorf("%s, error.type %q: %d, want %d", c.name, c.kind, n, c.want)
		}
	}
	if h := drained(t, p, 5*time.Second, peer); h.Traces.Emitted != 150 || h.Traces.Dropped != 10 {
		t.Errorf("%+v", h.Traces)
	}
}

// value returns the point of a sum with an error.type, or without one.
func value(m metricdata.Metrics, kind string) int64 {
	sum, ok := m.Data.(metricdata.Sum[int64])
	if !ok {
		return -1
	}
	for _, p := range sum.DataPoints {
		if v, _ := p.Attributes.Value("error.type"); v.AsString() == kind || kind == "" && !p.Attributes.HasValue("error.type") {
			return p.Value
		}
	}
	return -1
}
