package exporters

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otellog "go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	logspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/internal/tooling/testenv"
)

// TestBatchesAreBoundedInBytes uses items of 400 to 1000 bytes, and batches of 1000.
func TestBatchesAreBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		b, _ := newTestBatcher(s, batchConfig{queue: 100, batch: 100, delay: time.Hour, timeout: time.Minute, batchBytes: 1000, queueBytes: 5000})
		for _, size := range []int{400, 400, 400, 1000, 600, 1500} {
			b.add(size)
		}
		synctest.Wait()
		if err := b.forceFlush(t.Context()); err != nil {
			t.Error(err)
		}
		if !slices.Equal(s.sizes, []int{2, 1, 1, 1, 1}) {
			t.Errorf("batches of %v items, want 2, 1, 1, 1, 1", s.sizes)
		}
		_ = b.shutdown(t.Context())
	})
}

// TestBytesThatFillABatchAreExportedAtOnce uses far fewer items than a batch holds.
func TestBytesThatFillABatchAreExportedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		b, _ := newTestBatcher(s, batchConfig{queue: 100, batch: 100, delay: time.Hour, timeout: time.Minute, batchBytes: 1000, queueBytes: 5000})
		b.add(700)
		synctest.Wait()
		if n := len(s.items()); n != 0 {
			t.Errorf("%d were exported before there was a batch", n)
		}
		b.add(700)
		synctest.Wait()
		if n := len(s.items()); n == 0 {
			t.Error("the batch is full, and nothing is exported")
		}
		_ = b.shutdown(t.Context())
	})
}

// TestTheQueueIsBoundedInBytes counts the items that wait and those that are being exported.
func TestTheQueueIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{block: make(chan struct{})}
		b, alarms := newTestBatcher(s, batchConfig{queue: 100, batch: 100, delay: time.Hour, timeout: time.Hour, batchBytes: 1000, queueBytes: 5000})
		for range 20 {
			b.add(1000)
			synctest.Wait()
		}
		b.add(5001) // never
		if h := health(b.ledger); h.Queued != 5 || h.Dropped != 16 || b.ledger.read().overBytes != 16 || alarms.Load() == 0 {
			t.Errorf("%+v, want 5 held", h)
		}
		close(s.block)
		if err := b.forceFlush(t.Context()); err != nil {
			t.Error(err)
		}
		b.add(5000)
		if err := b.shutdown(t.Context()); err != nil {
			t.Errorf("there was room again: %v", err)
		}
		balanced(t, Traces, health(b.ledger))
	})
}

// TestWhatIsTooLargeIsAllThatIsLost uses a peer with a limit, and one item over it among many.
func TestWhatIsTooLargeIsAllThatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, refusal := range map[string]error{
			"HTTP": &httpError{httpAnswer{status: 413}, io.EOF}, "gRPC": status.Error(codes.ResourceExhausted, "received message larger than max (9 vs. 1)"),
			"tonic": status.Error(codes.OutOfRange, "decoded message length too large"), "SDK": errors.New("request body too large: exceeded 1 bytes"),
		} {
			var got []int
			calls := 0
			l := newLedger(Traces, component{}, component{}, 0, func() {})
			b := newBatcher(l, batchConfig{queue: 1000, batch: 500, delay: time.Hour, timeout: time.Minute}, func(i int) int64 { return int64(i) },
				func(_ context.Context, items []int) error {
					calls++
					sum := 0
					for _, i := range items {
						sum += i
					}
					if sum > 100<<10 {
						return refusal
					}
					got = append(got, items...)
					return nil
				}, func(context.Context) error { return nil })
			for i := range 500 {
				size := 1 << 10
				if i == 250 {
					size = 200 << 10
				}
				b.add(size)
			}
			_ = b.forceFlush(t.Context())
			h := health(l)
			balanced(t, Traces, h)
			if len(got) != 499 || h.Exported != 499 || h.Dropped != 1 {
				t.Errorf("%s: %+v, want one lost", name, h)
			}
			first := calls
			for range 400 {
				b.add(1 << 10)
			}
			if err := b.forceFlush(t.Context()); err != nil {
				t.Error(err)
			}
			if first > 50 || calls-first > 9 {
				t.Errorf("%s: %d exports, then %d for batches that are known to be small enough", name, first, calls-first)
			}
			_ = b.shutdown(t.Context())
		}
	})
}

// TestAQuotaIsNotASize uses a peer that refuses everything with the code for a message that is too large.
func TestAQuotaIsNotASize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{fail: func(int) error { return status.Error(codes.ResourceExhausted, "quota") }}
		l := newLedger(Traces, component{}, component{}, 0, func() {})
		b := newBatcher(l, batchConfig{queue: 1000, batch: 512, delay: time.Hour, timeout: time.Minute}, func(int) int64 { return 1 << 10 }, s.export, s.shutdown)
		for i := range 512 {
			b.add(i)
		}
		_ = b.shutdown(t.Context())
		if h := health(l); h.Dropped != 512 || s.calls > 16 {
			t.Errorf("%+v after %d exports", h, s.calls)
		}
	})
}

// limited is an OTLP endpoint over both protocols that accepts requests up to a size, and counts the items that it accepts.
func limited(t *testing.T, protocol string, limit int) (endpoint string, p *peer) {
	t.Helper()
	p = startPeer(t)
	if protocol != GRPC {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ContentLength > int64(limit) {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
			p.serveHTTP(w, r)
		}))
		t.Cleanup(srv.Close)
		return srv.URL, p
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(limit))
	tracepb.RegisterTraceServiceServer(srv, peerTraces{p: p})
	logspb.RegisterLogsServiceServer(srv, peerLogs{p: p})
	metricspb.RegisterMetricsServiceServer(srv, peerMetrics{p: p})
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() { srv.Stop(); wg.Wait() })
	return "http://" + l.Addr().String(), p
}

// TestOneLargeItemAmongSmallOnes covers each signal and protocol, with a peer that accepts 1 MiB at a time.
func TestOneLargeItemAmongSmallOnes(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, protocol string) {
		endpoint, peer := limited(t, protocol, 1<<20)
		p, log := setup(t, Options{Endpoint: endpoint, Protocol: protocol, NoRuntimeMetrics: true, BatchBytes: 8 << 20, ShutdownTimeout: time.Minute})
		counter, err := p.Providers().Meter("test").Int64Counter("things")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 300 {
			text := strings.Repeat("x", 8<<10)
			if i == 150 {
				text = strings.Repeat("x", 1<<21)
			}
			ctx, span := p.Providers().Tracer("test").Start(t.Context(), "work")
			span.SetAttributes(attribute.String("text", text))
			span.End()
			var r otellog.Record
			r.SetBody(attribute.StringValue(text))
			p.Providers().LoggerProvider.Logger("test").Emit(ctx, r)
			counter.Add(ctx, 1, metric.WithAttributes(attribute.Int("i", i), attribute.String("text", text)))
		}
		h := drained(t, p, time.Minute, peer)
		if h.Traces.Exported != 299 || h.Logs.Exported != 299 || h.Traces.Dropped != 1 || h.Logs.Dropped != 1 || h.Metrics.Dropped != 1 || h.Metrics.Exported < 299 {
			t.Errorf("%+v, want one lost of each", h)
		}
		if len(log.lines("remedy=\"an item is larger than the collector takes")) == 0 {
			t.Errorf("%.2000s", log)
		}
	})
}

// TestRealCollectorTakesLargeItemsAmongSmallOnes sends more than the collector's limit of 4 MiB over gRPC, in items of 10 KiB and one
// of 5 MiB.
func TestRealCollectorTakesLargeItemsAmongSmallOnes(t *testing.T) {
	t.Parallel()
	collector := testenv.Collector(t, nil)
	p, log := setup(t, Options{Endpoint: "http://" + collector.GRPCEndpoint(), Protocol: GRPC, BatchBytes: 16 << 20, NoRuntimeMetrics: true, ShutdownTimeout: time.Minute})
	for i := range 1000 {
		size := 10 << 10
		if i == 500 {
			size = 5 << 20
		}
		_, span := p.Providers().Tracer("test").Start(t.Context(), "work")
		span.SetAttributes(attribute.String("text", strings.Repeat("x", size)))
		span.End()
	}
	h := drained(t, p, time.Minute, nil)
	if n := len(collector.Spans()); n != 999 || h.Traces.Exported != 999 || h.Traces.Dropped != 1 {
		t.Errorf("%+v, and the collector holds %d\n%s", h.Traces, n, log)
	}
}

// TestMemoryIsBoundedInBytes emits 600 spans and records of 1 MiB to a peer that never answers.
func TestMemoryIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, protocol string) {
		p, log := setup(t, Options{Endpoint: "http://" + blackhole(t), Protocol: protocol})
		body := strings.Repeat("x", 1<<20)
		for range 600 {
			ctx, span := p.Providers().Tracer("test").Start(t.Context(), "work")
			span.SetAttributes(attribute.String("text", body))
			span.End()
			var r otellog.Record
			r.SetBody(attribute.StringValue(body))
			p.Providers().LoggerProvider.Logger("test").Emit(ctx, r)
		}
		h := p.Health()
		for which, s := range map[Signal]SignalHealth{Traces: h.Traces, Logs: h.Logs} {
			balanced(t, which, s)
			if s.Queued > 32 || s.Queued < 20 || s.Dropped != 600-s.Queued {
				t.Errorf("%s: %+v, want at most 32 held", which, s)
			}
		}
		eventually(t, 5*time.Second, saying("a line in %.500s", log), func() bool { return len(log.lines("raise Options.QueueBytes")) > 0 })
		drained(t, p, time.Second, nil)
	})
}

// TestHalvesHoldEveryPoint halves a collection of every kind of data, down to single points.
func TestHalvesHoldEveryPoint(t *testing.T) {
	number := metricdata.DataPoint[int64]{}
	float := metricdata.DataPoint[float64]{}
	rm := &metricdata.ResourceMetrics{ScopeMetrics: []metricdata.ScopeMetrics{{Metrics: []metricdata.Metrics{
		{Name: "a", Data: metricdata.Gauge[int64]{DataPoints: []metricdata.DataPoint[int64]{number, number, number}}},
		{Name: "b", Data: metricdata.Gauge[float64]{DataPoints: []metricdata.DataPoint[float64]{float}}},
		{Name: "c", Data: metricdata.Sum[int64]{IsMonotonic: true, DataPoints: []metricdata.DataPoint[int64]{number, number}}},
	}}, {}, {Metrics: []metricdata.Metrics{
		{Name: "d", Data: metricdata.Sum[float64]{DataPoints: []metricdata.DataPoint[float64]{float, float}}},
		{Name: "e", Data: metricdata.Histogram[int64]{DataPoints: make([]metricdata.HistogramDataPoint[int64], 5)}},
		{Name: "f", Data: metricdata.Histogram[float64]{DataPoints: make([]metricdata.HistogramDataPoint[float64], 2)}},
		{Name: "g", Data: metricdata.ExponentialHistogram[int64]{DataPoints: make([]metricdata.ExponentialHistogramDataPoint[int64], 2)}},
		{Name: "h", Data: metricdata.ExponentialHistogram[float64]{DataPoints: make([]metricdata.ExponentialHistogramDataPoint[float64], 2)}},
		{Name: "i", Data: metricdata.Summary{DataPoints: make([]metricdata.SummaryDataPoint, 3)}},
	}}}}
	counts := map[string]int64{}
	var split func(*metricdata.ResourceMetrics)
	split = func(rm *metricdata.ResourceMetrics) {
		a, b, ok := halvePoints(rm)
		if ok {
			split(a)
			split(b)
			return
		}
		if n := points(rm); n != 1 {
			t.Errorf("a part of %d points is not halved", n)
		}
		m := rm.ScopeMetrics[0].Metrics[0]
		if sum, is := m.Data.(metricdata.Sum[int64]); is && !sum.IsMonotonic {
			t.Error("a sum is not monotonic any more")
		}
		counts[m.Name]++
	}
	split(rm)
	if got := fmt.Sprint(counts); got != "map[a:3 b:1 c:2 d:2 e:5 f:2 g:2 h:2 i:3]" {
		t.Error(got)
	}
}
