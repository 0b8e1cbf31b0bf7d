package synctest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	gosync "sync"

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
	mu    gosync.Mutex
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

// event fails unless an event of this name is emitted.
func (r *rig) event(name string) {
	r.Helper()
	r.eventually("the event "+name, func() error {
		r.events.mu.Lock()
		defer r.events.mu.Unlock()
		if !slices.Contains(r.events.names, name) {
			return fmt.Errorf("only %q", r.events.names)
		}
		return nil
	})
}

// points returns what the instruments of the package hold, by name, unit and attributes: the count of a histogram, the value of a
// counter.
func (r *rig) points() map[string]int64 {
	r.Helper()
	var rm metricdata.ResourceMetrics
	if err := r.reader.Collect(r.Context(), &rm); err != nil {
		r.Fatal(err)
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
				r.Errorf("%s is a %T", m.Name, data)
			}
		}
	}
	return got
}

// spanned returns the names of the spans that have ended, with their error.type.
func (r *rig) spanned() (all []string) {
	for _, span := range r.spans.Ended() {
		name := span.Name()
		for _, a := range span.Attributes() {
			if a.Key == "error.type" {
				name += " " + a.Value.String()
			}
		}
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// spanAttributes fails unless each span has these keys.
func (r *rig) spanAttributes(keys ...string) {
	r.Helper()
	for _, span := range r.spans.Ended() {
		var have []string
		for _, a := range span.Attributes() {
			have = append(have, string(a.Key))
		}
		for _, key := range keys {
			if !slices.Contains(have, key) {
				r.Errorf("the span %q has the attributes %s, and not %s", span.Name(), strings.Join(have, ", "), key)
			}
		}
	}
}
