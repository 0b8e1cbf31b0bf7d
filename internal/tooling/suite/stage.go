package suite

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

// Stage is a set of Providers and what reached the SDK behind them.
type Stage struct {
	// Providers are for what is under test.
	Providers telemetry.Providers
	// Spans holds those that were started and ended.
	Spans *tracetest.SpanRecorder

	reader *sdkmetric.ManualReader
	events *events
}

// NewStage returns a Stage that samples everything.
func NewStage() *Stage {
	s := &Stage{Providers: telemetry.Off(), Spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader(), events: &events{}}
	s.Providers.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(s.Spans))
	s.Providers.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(s.reader))
	s.Providers.LoggerProvider = sdklog.NewLoggerProvider(sdklog.WithProcessor(s.events))
	return s
}

// Events returns the names of the OTel events that were emitted.
func (s *Stage) Events() []string {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	return slices.Clone(s.events.names)
}

// Points returns what the instruments hold, by name, unit and attributes: the count of a histogram, the value of a sum.
func (s *Stage) Points(ctx context.Context) (map[string]int64, error) {
	var rm metricdata.ResourceMetrics
	if err := s.reader.Collect(ctx, &rm); err != nil {
		return nil, err
	}
	got := map[string]int64{}
	add := func(m metricdata.Metrics, attrs attribute.Set, n int64) {
		got[fmt.Sprintf("%s %s %s", m.Name, m.Unit, attrs.Encoded(attribute.DefaultEncoder()))] += n
	}
	for _, sm := range rm.ScopeMetrics {
		for _, m := range sm.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					add(m, p.Attributes, int64(p.Count))
				}
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					add(m, p.Attributes, p.Value)
				}
			default:
				return nil, fmt.Errorf("%s is a %T", m.Name, data)
			}
		}
	}
	return got, nil
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
