package exporters

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	otellog "go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// bad is not UTF-8; repaired is its repaired form.
const (
	bad      = "a\xff\xfeb"
	repaired = "a\uFFFDb"
)

// overBoth runs a test against a peer over gRPC and over HTTP.
func overBoth(t *testing.T, test func(t *testing.T, peer *peer, p *Pipeline)) {
	for _, protocol := range []string{GRPC, HTTP} {
		t.Run(protocol, func(t *testing.T) {
			peer := startPeer(t)
			p, _ := setup(t, Options{
				Endpoint: peer.endpoint(protocol), Protocol: protocol, BatchDelay: time.Hour, MetricInterval: time.Hour, NoRuntimeMetrics: true,
				ServiceVersion: bad, Environ: []string{"OTEL_RESOURCE_ATTRIBUTES=team=a%FF%FEb"},
			})
			test(t, peer, p)
			if err := p.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			h := p.Health()
			for signal, s := range map[Signal]SignalHealth{Traces: h.Traces, Metrics: h.Metrics, Logs: h.Logs} {
				if s.Dropped != 0 {
					t.Errorf("%s: %d dropped: %v", signal, s.Dropped, s.LastError)
				}
			}
		})
	}
}

// flushed exports the waiting items and returns the received ones as JSON, in which text can be counted anywhere.
func flushed(t *testing.T, peer *peer, p *Pipeline, came func() []proto.Message) string {
	t.Helper()
	if err := p.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	peer.mu.Lock()
	defer peer.mu.Unlock()
	var all strings.Builder
	for _, m := range came() {
		text, err := protojson.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// wantRepaired counts the repaired texts, so that a lost one is noticed.
func wantRepaired(t *testing.T, got string, n int) {
	t.Helper()
	if has := strings.Count(got, repaired); has != n {
		t.Errorf("%d repaired texts, want %d: %s", has, n, got)
	}
}

func TestBadTextLosesNoSpans(t *testing.T) {
	overBoth(t, func(t *testing.T, peer *peer, p *Pipeline) {
		tracer := p.Providers().Tracer("t")
		spans := func(n int) {
			for range n {
				_, span := tracer.Start(t.Context(), "good")
				span.End()
			}
		}
		spans(3)
		_, span := p.Providers().TracerProvider.Tracer(bad, trace.WithInstrumentationVersion(bad), trace.WithSchemaURL(bad),
			trace.WithInstrumentationAttributes(attribute.String("k", bad))).Start(t.Context(), bad, trace.WithLinks(
			trace.Link{SpanContext: trace.NewSpanContext(trace.SpanContextConfig{TraceID: [16]byte{1}, SpanID: [8]byte{1}}),
				Attributes: []attribute.KeyValue{attribute.String("k", bad)}}))
		span.SetAttributes(attribute.String("k", bad), attribute.String(bad, "v"), attribute.StringSlice("list", []string{"good", bad}),
			attribute.Slice("slice", attribute.StringValue(bad)),
			attribute.Map("map", attribute.String(bad, "v"), attribute.Map("inner", attribute.String("k", bad))),
			attribute.ByteSlice("bytes", []byte(bad)))
		span.AddEvent(bad, trace.WithAttributes(attribute.String("k", bad)))
		span.RecordError(errors.New(bad))
		span.SetStatus(codes.Error, bad)
		span.End()
		spans(3)
		got := flushed(t, peer, p, func() []proto.Message { return messages(peer.spans) })
		wantRepaired(t, got, 2+4+1+1+6+3+1) // resource, scope, name, link, attributes, events, status
		if n := peer.count(Traces); n != 7 {
			t.Errorf("%d spans came, want 7", n)
		}
		if !strings.Contains(got, `"bytesValue":"Yf/+Yg=="`) {
			t.Errorf("bytes that are no text have changed: %s", got)
		}
	})
}

func messages[M proto.Message](all []M) []proto.Message {
	var out []proto.Message
	for _, m := range all {
		out = append(out, m)
	}
	return out
}

func TestBadTextLosesNoLogRecords(t *testing.T) {
	overBoth(t, func(t *testing.T, peer *peer, p *Pipeline) {
		p.Logger().Info("good", "k", "v")
		p.Logger().Info(bad, "name", bad, bad, "v", slog.Group("group", "k", bad), "list", []string{bad}, "error", errors.New(bad))
		logger := p.Providers().LoggerProvider.Logger(bad, otellog.WithInstrumentationVersion(bad), otellog.WithSchemaURL(bad),
			otellog.WithInstrumentationAttributes(attribute.String("k", bad)))
		var r otellog.Record
		r.SetEventName(bad)
		r.SetSeverityText(bad)
		r.SetBody(attribute.MapValue(attribute.String(bad, bad), attribute.Slice("k", attribute.StringValue(bad))))
		r.SetErr(errors.New(bad))
		logger.Emit(t.Context(), r)
		p.Logger().Info("good")
		got := flushed(t, peer, p, func() []proto.Message { return messages(peer.records) })
		wantRepaired(t, got, 2+7+4+1+1+3+1) // resource, the second, scope, event name, severity, body, exception.message
		if n := peer.count(Logs); n != 4 {
			t.Errorf("%d records came, want 4", n)
		}
	})
}

func TestBadTextLosesNoMetrics(t *testing.T) {
	overBoth(t, func(t *testing.T, peer *peer, p *Pipeline) {
		meter := p.Providers().MeterProvider.Meter(bad, metric.WithInstrumentationVersion(bad), metric.WithSchemaURL(bad),
			metric.WithInstrumentationAttributes(attribute.String("k", bad)))
		counter, err := meter.Int64Counter("c", metric.WithDescription(bad))
		gauge, err2 := meter.Float64Gauge("g")
		histogram, err3 := meter.Float64Histogram("h")
		if err := errors.Join(err, err2, err3); err != nil {
			t.Fatal(err)
		}
		add := func() {
			for i, v := range []string{"good", bad, "a\xfeb", repaired} {
				set := metric.WithAttributes(attribute.String("k", v), attribute.StringSlice("list", []string{v}))
				counter.Add(t.Context(), int64(1)<<(4*i), set)
				gauge.Record(t.Context(), 7, set)
				histogram.Record(t.Context(), float64(1+i), set)
			}
		}
		for round := int64(1); round <= 3; round++ { // cumulative: a failure of the first would repeat in all
			add()
			peer.mu.Lock()
			peer.metrics = nil
			peer.mu.Unlock()
			got := flushed(t, peer, p, func() []proto.Message { return messages(peer.metrics) })
			wantRepaired(t, got, 2+4+1+3*2) // resource, scope, description, one series of each with two attributes
			sum := pointsNamed(peer, "c").GetSum().GetDataPoints()
			if len(sum) != 2 || sum[0].GetAsInt()+sum[1].GetAsInt() != round*0x1111 || sum[0].GetAsInt() != round && sum[1].GetAsInt() != round {
				t.Errorf("round %d: want the good series and the sum of the others: %v", round, sum)
			}
			if points := pointsNamed(peer, "g").GetGauge().GetDataPoints(); len(points) != 2 || points[1].GetAsDouble() != 7 {
				t.Errorf("round %d: %v", round, points)
			}
			hist := pointsNamed(peer, "h").GetHistogram().GetDataPoints()
			if len(hist) != 2 {
				t.Fatalf("round %d: %v", round, hist)
			}
			for _, h := range hist {
				want := []float64{1, 1, 1, 1} // count, sum, min, max, of one round
				if attr(h.Attributes, "k") == repaired {
					want = []float64{3, 2 + 3 + 4, 2, 4}
				}
				var counted uint64
				for _, n := range h.BucketCounts {
					counted += n
				}
				r := float64(round)
				if float64(h.Count) != r*want[0] || h.GetSum() != r*want[1] || h.GetMin() != want[2] || h.GetMax() != want[3] || counted != h.Count {
					t.Errorf("round %d: %v", round, h)
				}
			}
		}
	})
}

// pointsNamed returns the metric that arrived last under a name.
func pointsNamed(p *peer, name string) *metricpb.Metric {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found *metricpb.Metric
	for _, rm := range p.metrics {
		for _, sm := range rm.ScopeMetrics {
			for _, m := range sm.Metrics {
				if m.Name == name {
					found = m
				}
			}
		}
	}
	return found
}

// TestExemplarsAndEveryAggregationAreRepaired covers the kinds that the SDK produces only on request, or never.
func TestExemplarsAndEveryAggregationAreRepaired(t *testing.T) {
	set := func(v string) attribute.Set { return attribute.NewSet(attribute.String("k", v)) }
	filtered := []attribute.KeyValue{attribute.String("k", bad)}
	rm := &metricdata.ResourceMetrics{ScopeMetrics: []metricdata.ScopeMetrics{{Metrics: []metricdata.Metrics{
		{Data: metricdata.Sum[int64]{DataPoints: []metricdata.DataPoint[int64]{
			{Attributes: set("good"), Exemplars: []metricdata.Exemplar[int64]{{FilteredAttributes: filtered}}}}}},
		{Data: metricdata.Sum[float64]{DataPoints: []metricdata.DataPoint[float64]{{Attributes: set(bad)}, {Attributes: set("a\xfeb")}}}},
		{Data: metricdata.Gauge[int64]{DataPoints: []metricdata.DataPoint[int64]{
			{Attributes: set(bad), Value: 5, Time: time.Unix(2, 0)}, {Attributes: set("a\xfeb"), Value: 6, Time: time.Unix(1, 0)}}}},
		{Data: metricdata.Histogram[int64]{DataPoints: []metricdata.HistogramDataPoint[int64]{
			{Attributes: set(bad), Bounds: []float64{1}, BucketCounts: []uint64{1, 0}},
			{Attributes: set("a\xfeb"), Bounds: []float64{2}, BucketCounts: []uint64{0, 1}}}}},
		{Data: metricdata.ExponentialHistogram[int64]{DataPoints: []metricdata.ExponentialHistogramDataPoint[int64]{{Attributes: set(bad)}}}},
		{Data: metricdata.ExponentialHistogram[float64]{DataPoints: []metricdata.ExponentialHistogramDataPoint[float64]{
			{Attributes: set(bad)}, {Attributes: set("a\xfeb")}}}},
		{Data: metricdata.Summary{DataPoints: []metricdata.SummaryDataPoint{{Attributes: set(bad)}}}},
	}}}}
	repairMetrics(rm)
	if filtered[0].Value.AsString() != bad {
		t.Error("the attributes of an exemplar, which the SDK still holds, have changed")
	}
	metrics := rm.ScopeMetrics[0].Metrics
	// The first has one in an exemplar. The third keeps its later value; the fourth's buckets do not match each other.
	for i, want := range []int{1, 1, 1, 2, 1, 2, 1} {
		if got := pointsOf(metrics[i].Data); got != want {
			t.Errorf("metric %d has %d points, want %d", i, got, want)
		}
		text, err := json.Marshal(metrics[i].Data)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), repaired); n != want {
			t.Errorf("metric %d has %d repaired texts, want %d: %s", i, n, want, text)
		}
		if strings.Contains(string(text), `\ufffd`) { // the escaped form of invalid text
			t.Errorf("metric %d still has bad text: %s", i, text)
		}
	}
	if v := metrics[2].Data.(metricdata.Gauge[int64]).DataPoints[0].Value; v != 5 {
		t.Errorf("of two gauges %d stays, want the later one, 5", v)
	}
}

// TestMergedPointsShareNothing checks the memory that the reader reuses: after two points are merged, the free slot has none
// of their slices.
func TestMergedPointsShareNothing(t *testing.T) {
	set := func(v string) attribute.Set { return attribute.NewSet(attribute.String("k", v)) }
	points := []metricdata.DataPoint[int64]{{Attributes: set(bad)}, {Attributes: set("a\xfeb")}, {Attributes: set("good"),
		Exemplars: make([]metricdata.Exemplar[int64], 1)}}
	room := points
	if !shrink(&points, numberParts[int64], total[int64]) || len(points) != 2 || len(points[1].Exemplars) != 1 {
		t.Fatalf("%v", points)
	}
	if room[2].Exemplars != nil {
		t.Error("two points share their exemplars")
	}
	counts := []uint64{1}
	hist := []metricdata.HistogramDataPoint[int64]{
		{Attributes: set(bad), BucketCounts: counts}, {Attributes: set("a\xfeb"), BucketCounts: []uint64{2}}}
	if !shrink(&hist, bucketParts[int64], addBuckets[int64]) || hist[0].BucketCounts[0] != 3 || counts[0] != 1 {
		t.Errorf("%v, and the counts of the first were changed to %v", hist, counts)
	}
}

// TestResourceWithBadText sets invalid text in the environment, in a value and in a key, where the SDK reads it as well.
func TestResourceWithBadText(t *testing.T) {
	variable := "region=a%FF%FEb,k%FF=1"
	t.Setenv(envResource, variable)
	peer := startPeer(t)
	p, logged := setup(t, Options{Endpoint: peer.endpoint(HTTP), Environ: []string{envResource + "=" + variable}})
	p.Logger().Info("good")
	_, span := p.Providers().Tracer("t").Start(t.Context(), "good")
	span.End()
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if got := peer.resourceAttr("region"); got != repaired || peer.resourceAttr("k\uFFFD") != "1" || peer.count(Logs) == 0 || peer.count(Metrics) == 0 {
		t.Errorf("region is %q; %d records and %d points came", got, peer.count(Logs), peer.count(Metrics))
	}
	if lines := logged.lines("is not UTF-8"); len(lines) != 2 {
		t.Errorf("want a line for the key and one for the value: %s", logged)
	}
}

// TestPageWithBadLabelValue uses an instrument of the program on the page for Prometheus: the page works, with all other
// series.
func TestPageWithBadLabelValue(t *testing.T) {
	p, logged := setup(t, Options{NoRuntimeMetrics: true, ServiceVersion: bad})
	defer func() { _ = p.Shutdown(context.Background()) }()
	counter, err := p.Providers().Meter("t").Int64Counter("c")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"good", bad} {
		counter.Add(t.Context(), 1, metric.WithAttributes(attribute.String("k", v)))
	}
	rec := httptest.NewRecorder()
	p.MetricsHandler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	page := rec.Body.String()
	if rec.Code != 200 || !strings.Contains(page, `k="good"`) || !strings.Contains(page, `service_version="`+repaired+`"`) {
		t.Errorf("%d: %s", rec.Code, page)
	}
	if !strings.Contains(page, `k="`+repaired+`"`) && len(logged.lines("telemetry error", "UTF-8")) != 1 {
		t.Errorf("the bad series is neither repaired nor reported: %s\n%s", page, logged)
	}
}

// TestGoodTextCostsNothing measures the allocations of checking a span, a record and a point.
func TestGoodTextCostsNothing(t *testing.T) {
	spans, records, rm := goodText(t)
	for name, look := range map[string]func(){
		"span": func() { repairSpans(spans) }, "record": func() { repairRecords(records) }, "points": func() { repairMetrics(rm) },
	} {
		if n := testing.AllocsPerRun(100, look); n != 0 {
			t.Errorf("a good %s costs %v allocations, want none", name, n)
		}
	}
}

func BenchmarkLookAtGoodText(b *testing.B) {
	spans, records, rm := goodText(b)
	for name, look := range map[string]func(){
		"span": func() { repairSpans(spans) }, "record": func() { repairRecords(records) }, "point": func() { repairMetrics(rm) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				look()
			}
		})
	}
}

// goodText returns a span, a record and a point as a server emits them.
func goodText(t testing.TB) ([]sdktrace.ReadOnlySpan, []sdklog.Record, *metricdata.ResourceMetrics) {
	t.Helper()
	var attrs []attribute.KeyValue
	for i := range 10 {
		attrs = append(attrs, attribute.String(fmt.Sprint("http.attribute.", i), "a value of some 20 bytes"))
	}
	span := tracetest.SpanStub{
		Name: "GET /buy/{what}", Attributes: attrs, Events: []sdktrace.Event{{Name: "exception", Attributes: attrs[:3]}},
		Links: []sdktrace.Link{{Attributes: attrs[:1]}}, Status: sdktrace.Status{Code: codes.Error, Description: "out of tea"},
	}
	var kept keeping
	lp := sdklog.NewLoggerProvider(sdklog.WithProcessor(&kept))
	var r otellog.Record
	r.SetBody(attribute.StringValue("bought"))
	r.AddAttributes(attrs...)
	lp.Logger("t").Emit(t.Context(), r)
	rm := &metricdata.ResourceMetrics{ScopeMetrics: []metricdata.ScopeMetrics{{Metrics: []metricdata.Metrics{{
		Name: "c", Data: metricdata.Sum[int64]{DataPoints: []metricdata.DataPoint[int64]{{Attributes: attribute.NewSet(attrs...)}}}}}}}}
	return []sdktrace.ReadOnlySpan{span.Snapshot()}, kept.records, rm
}

// keeping is a log processor that keeps everything.
type keeping struct{ records []sdklog.Record }

func (k *keeping) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }
func (k *keeping) OnEmit(_ context.Context, r *sdklog.Record) error {
	k.records = append(k.records, r.Clone())
	return nil
}
func (k *keeping) Shutdown(context.Context) error   { return nil }
func (k *keeping) ForceFlush(context.Context) error { return nil }
