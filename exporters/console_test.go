package exporters

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otellog "go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/trace"
)

var notFinite = []float64{math.NaN(), math.Inf(1), math.Inf(-1)}

// oddAttrs returns an attribute of each type that can hold a number which is not finite.
func oddAttrs(f float64) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.Float64("ratio", f), attribute.Float64Slice("ratios", []float64{1, f}),
		attribute.Map("map", attribute.Slice("list", attribute.Float64Value(f), attribute.StringValue("x"))),
	}
}

// documents decodes the console's output.
func documents(t *testing.T, text string) (docs []map[string]any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	for {
		var doc map[string]any
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			t.Fatalf("%v in %.500s", err, text)
		}
		docs = append(docs, doc)
	}
}

// TestNumbersThatAreNotFiniteOnTheConsole puts them wherever the API accepts one. An attribute is written as text; a point is lost
// alone.
func TestNumbersThatAreNotFiniteOnTheConsole(t *testing.T) {
	t.Parallel()
	for _, f := range notFinite {
		out := &logBuffer{}
		p, _ := setup(t, Options{
			Console: out, Environ: consoles(""), NoRuntimeMetrics: true, Attributes: oddAttrs(f),
			Views: []sdkmetric.View{sdkmetric.NewView(sdkmetric.Instrument{Name: "exp"}, sdkmetric.Stream{Aggregation: sdkmetric.AggregationBase2ExponentialHistogram{MaxSize: 10, MaxScale: 1}})},
		})
		pr := p.Providers()
		tracer := pr.TracerProvider.Tracer("t", trace.WithInstrumentationAttributes(oddAttrs(f)...))
		logger := pr.LoggerProvider.Logger("t", otellog.WithInstrumentationAttributes(oddAttrs(f)...))
		meter := pr.MeterProvider.Meter("t", metric.WithInstrumentationAttributes(oddAttrs(f)...))
		for range 3 {
			ctx, s := tracer.Start(t.Context(), "s", trace.WithAttributes(oddAttrs(f)...), trace.WithLinks(trace.Link{Attributes: oddAttrs(f)}))
			s.AddEvent("e", trace.WithAttributes(oddAttrs(f)...))
			var r otellog.Record
			r.SetBody(attribute.Float64Value(f))
			r.AddAttributes(oddAttrs(f)...)
			logger.Emit(ctx, r)
			s.End()
		}
		odd, _ := meter.Float64Gauge("odd")
		odd.Record(t.Context(), f)
		even, _ := meter.Float64Gauge("even")
		even.Record(t.Context(), f, metric.WithAttributes(attribute.Bool("bad", true)))
		even.Record(t.Context(), 1, metric.WithAttributes(oddAttrs(f)...))
		for _, name := range []string{"hist", "exp"} {
			h, _ := meter.Float64Histogram(name)
			h.Record(t.Context(), 1)
			h.Record(t.Context(), f)
		}
		good, _ := meter.Int64Counter("good")
		good.Add(t.Context(), 1)
		err := p.Shutdown(t.Context())
		h := p.Health()
		if h.Traces.Exported != 3 || h.Logs.Exported != 3 || h.Traces.Dropped+h.Logs.Dropped != 0 {
			t.Errorf("%v: %+v", f, h)
		}
		balanced(t, Metrics, h.Metrics)
		if h.Metrics.Dropped < 2 || h.Metrics.Exported < 2 || !errors.Is(err, errNotFinite) {
			t.Errorf("%v: %+v: %v", f, h.Metrics, err)
		}
		docs := documents(t, out.String())
		if len(docs) != 7 {
			t.Errorf("%v: %d documents, want 3 spans, 3 records and a collection", f, len(docs))
		}
		for _, text := range []string{`"good"`, `"even"`, `"` + numberText(f) + `"`} {
			if !strings.Contains(out.String(), text) {
				t.Errorf("%v: %s is not on the console", f, text)
			}
		}
		if strings.Contains(out.String(), `"odd"`) || strings.Contains(out.String(), `"bad"`) {
			t.Errorf("%v: a point that is not finite was written: %s", f, out)
		}
	}
}

// TestOTLPCarriesNumbersThatAreNotFinite shows that OTLP keeps what the console loses.
func TestOTLPCarriesNumbersThatAreNotFinite(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, protocol string) {
		peer := startPeer(t)
		p, _ := setup(t, Options{Endpoint: peer.endpoint(protocol), Protocol: protocol})
		for _, f := range notFinite {
			_, s := p.Providers().Tracer("t").Start(t.Context(), "s", trace.WithAttributes(oddAttrs(f)...))
			s.End()
			g, _ := p.Providers().Meter("t").Float64Gauge("g")
			g.Record(t.Context(), f)
		}
		if h := drained(t, p, 5*time.Second, peer); h.Traces.Exported != 3 || h.Metrics.Dropped != 0 {
			t.Errorf("%+v", h)
		}
	})
}

// exclusive is a writer that fails the test on concurrent writes. It is slow enough to provoke them.
type exclusive struct {
	t      *testing.T
	inside atomic.Int32
	out    logBuffer
}

func (w *exclusive) Write(p []byte) (int, error) {
	if w.inside.Add(1) != 1 {
		w.t.Error("two write at a time")
	}
	defer w.inside.Add(-1)
	time.Sleep(time.Millisecond)
	return w.out.Write(p)
}

// TestOneWriteAtATime shares one writer between all signals and the readable log.
func TestOneWriteAtATime(t *testing.T) {
	t.Parallel()
	w := &exclusive{t: t}
	p, _ := setup(t, Options{Console: w, LogWriter: w, LogJSON: true, Environ: consoles(""), BatchDelay: time.Millisecond})
	emit(t, p, 30)
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(documents(t, w.out.String())); n < 30+30+30+1 {
		t.Errorf("%d documents, want 30 spans, 30 records, 30 lines and a collection", n)
	}
}

// failing is a writer that accepts a number of writes, and then fails, panics, or accepts half.
type failing struct {
	left int
	how  string
	bytes.Buffer
}

func (w *failing) Write(p []byte) (int, error) {
	if w.left--; w.left >= 0 {
		return w.Buffer.Write(p)
	}
	switch w.how {
	case "panics":
		panic("full")
	case "takes half":
		return w.Buffer.Write(p[:len(p)/2])
	}
	return 0, errors.New("disk full")
}

// TestAConsoleThatFailsCountsWhatItTook uses a writer that accepts two spans of ten.
func TestAConsoleThatFailsCountsWhatItTook(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"fails", "panics", "takes half"} {
		w := &failing{left: 2, how: how}
		p, log := setup(t, Options{Console: w, Environ: append(consoles(""), "OTEL_METRICS_EXPORTER=none", "OTEL_LOGS_EXPORTER=none")})
		for range 10 {
			_, s := p.Providers().Tracer("t").Start(t.Context(), "s")
			s.End()
		}
		err := p.Shutdown(context.Background())
		if h := p.Health().Traces; h.Exported != 2 || h.Dropped != 8 || !errors.Is(err, errConsole) {
			t.Errorf("%s: %+v, %v", how, h, err)
		}
		if len(log.lines("Options.Console")) != 1 {
			t.Errorf("%s: %s", how, log)
		}
	}
}
