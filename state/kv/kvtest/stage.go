package kvtest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/go-os/go-os/telemetry"
)

// stage is a set of Providers and what reached the SDK behind them.
type stage struct {
	providers telemetry.Providers
	spans     *tracetest.SpanRecorder
	reader    *sdkmetric.ManualReader
	events    *events
}

func newStage() *stage {
	s := &stage{spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader(), events: &events{}}
	s.providers = telemetry.Off()
	s.providers.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(s.spans))
	s.providers.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(s.reader))
	s.providers.LoggerProvider = sdklog.NewLoggerProvider(sdklog.WithProcessor(s.events))
	return s
}

// events keeps the names of OTel events.
type events struct {
	mu    sync.Mutex
	names []string
}

// Enabled implements sdklog.Processor.
func (*events) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }

// OnEmit implements sdklog.Processor.
func (e *events) OnEmit(_ context.Context, r *sdklog.Record) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.names = append(e.names, r.EventName())
	return nil
}

// Shutdown implements sdklog.Processor.
func (*events) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdklog.Processor.
func (*events) ForceFlush(context.Context) error { return nil }

// event fails unless an event of this name was emitted.
func (r *rig) event(name string) {
	r.Helper()
	r.events.mu.Lock()
	defer r.events.mu.Unlock()
	if !slices.Contains(r.events.names, name) {
		r.Errorf("events %q, want %q among them", r.events.names, name)
	}
}

// points returns how many calls the histogram of durations has counted, by its name, its unit and their attributes.
func (r *rig) points() map[string]uint64 {
	r.Helper()
	var rm metricdata.ResourceMetrics
	if err := r.reader.Collect(r.Context(), &rm); err != nil {
		r.Fatal(err)
	}
	got := map[string]uint64{}
	for _, sm := range rm.ScopeMetrics {
		for _, m := range sm.Metrics {
			h, ok := m.Data.(metricdata.Histogram[float64])
			if !ok {
				continue
			}
			for _, p := range h.DataPoints {
				got[fmt.Sprintf("%s %s %s", m.Name, m.Unit, p.Attributes.Encoded(attribute.DefaultEncoder()))] += p.Count
			}
		}
	}
	return got
}
