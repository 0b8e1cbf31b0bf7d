package trace_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/telemetry"
	"github.com/go-os/go-os/telemetry/trace"
)

func TestKeeperBoundsTraces(t *testing.T) {
	k := keep(t, dropped(), trace.KeepOptions{MaxTraces: 2})
	_, one := k.tracer.Start(t.Context(), "one")
	_, two := k.tracer.Start(t.Context(), "two")
	_, three := k.tracer.Start(t.Context(), "three")
	fail(three)
	fail(one)
	// A kept trace gives up its slot.
	_, four := k.tracer.Start(t.Context(), "four")
	fail(four)
	fail(two)
	equal(t, "exported", k.exported(t), []string{"one error", "four error", "two error"})
	k.stats(t, trace.KeepStats{Started: 4, Kept: 3, Overflowed: 1, SpansKept: 3, SpansUnwatched: 1})
}

// The running spans of a kept trace keep its slot as long as another slot is available.
func TestKeeperForgetsFinishedTracesFirst(t *testing.T) {
	k := keep(t, dropped(), trace.KeepOptions{MaxTraces: 2})
	ctx, running := k.tracer.Start(t.Context(), "running")
	_, child := k.tracer.Start(ctx, "child")
	fail(child)
	for range 3 { // each needs the slot of the one before it
		_, short := k.tracer.Start(t.Context(), "short")
		fail(short)
	}
	running.End()
	equal(t, "exported", k.exported(t),
		[]string{"child error", "short error", "short error", "short error", "running error"})
	k.stats(t, trace.KeepStats{Started: 4, Kept: 4, SpansKept: 5})
}

// A finished trace becomes running again when a child begins.
func TestKeeperTraceRunsAgain(t *testing.T) {
	k := keep(t, dropped(), trace.KeepOptions{MaxTraces: 2})
	ctx, one := k.tracer.Start(t.Context(), "one")
	fail(one)
	_, again := k.tracer.Start(ctx, "again")
	_, two := k.tracer.Start(t.Context(), "two")
	fail(two)
	_, three := k.tracer.Start(t.Context(), "three") // takes the slot of two, which ended after one
	fail(three)
	again.End()
	equal(t, "exported", k.exported(t), []string{"one error", "two error", "three error", "again error"})
}

// If no other slot is available, a kept trace loses its remaining spans, and the loss is counted.
func TestKeeperCountsWhatAForgottenTraceLoses(t *testing.T) {
	k := keep(t, dropped(), trace.KeepOptions{MaxTraces: 1})
	ctx, a := k.tracer.Start(t.Context(), "a")
	_, child := k.tracer.Start(ctx, "child")
	_, bad := k.tracer.Start(ctx, "bad")
	fail(bad)
	_, b := k.tracer.Start(t.Context(), "b")
	child.End()
	a.End()
	b.End()
	equal(t, "exported", k.exported(t), []string{"bad error"})
	k.stats(t, trace.KeepStats{Started: 2, Kept: 1, Discarded: 1, SpansKept: 1, SpansDiscarded: 1, SpansUnwatched: 2})
}

func TestKeeperBoundsSpans(t *testing.T) {
	for name, opts := range map[string]trace.KeepOptions{
		"of a trace": {MaxSpans: 2}, "of all": {MaxBuffered: 2},
	} {
		t.Run(name, func(t *testing.T) {
			k := keep(t, dropped(), opts)
			ctx, root := k.tracer.Start(t.Context(), "root")
			for _, name := range []string{"a", "b", "c"} {
				_, child := k.tracer.Start(ctx, name)
				child.End()
			}
			fail(root)
			equal(t, "exported", k.exported(t), []string{"a error", "b error", "root error"})
			k.stats(t, trace.KeepStats{Started: 1, Kept: 1, SpansKept: 3, SpansOverflowed: 1})
		})
	}
}

// Roots that never end are the worst case for a buffer. Besides the counts, the test measures the heap: overflowed spans
// must not be reachable.
func TestKeeperBoundsMemoryWhenRootsNeverEnd(t *testing.T) {
	const traces, maxTraces, maxBuffered = 5_000, 64, 256
	k := keep(t, dropped(), trace.KeepOptions{MaxTraces: maxTraces, MaxBuffered: maxBuffered})
	before := testenv.Heap()
	for range traces {
		ctx, _ := k.tracer.Start(context.Background(), "root")
		for range 8 {
			_, child := k.tracer.Start(ctx, "child", oteltrace.WithAttributes(attribute.String("payload", string(make([]byte, 1024)))))
			child.End()
		}
	}
	if grown := testenv.Heap() - before; grown > 4<<20 {
		t.Errorf("the heap has grown by %d bytes over %d traces", grown, traces)
	}
	k.stats(t, trace.KeepStats{
		Started: traces, Overflowed: traces - maxTraces, Pending: maxTraces,
		SpansBuffered: maxBuffered, SpansOverflowed: maxTraces*8 - maxBuffered, SpansUnwatched: (traces - maxTraces) * 8,
	})
}

// The decision on a kept trace is remembered without its spans.
func TestKeeperForgetsTheSpansOfKeptTraces(t *testing.T) {
	keeper := trace.NewKeeper(discard{}, &trace.KeepOptions{Telemetry: telemetry.Off()})
	tp := sdktrace.NewTracerProvider(sdktrace.WithSampler(keeper.Sampler(dropped())), sdktrace.WithSpanProcessor(keeper))
	before := testenv.Heap()
	for range 2000 {
		ctx, root := tp.Tracer("test").Start(context.Background(), "root")
		for range 8 {
			_, child := tp.Tracer("test").Start(ctx, "child", oteltrace.WithAttributes(attribute.String("payload", string(make([]byte, 1024)))))
			child.End()
		}
		fail(root)
	}
	if grown := testenv.Heap() - before; grown > 4<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	if got := keeper.Stats(); got != (trace.KeepStats{Started: 2000, Kept: 2000, SpansKept: 18000}) {
		t.Errorf("Stats() = %+v", got)
	}
}

// Run with -race. Under concurrency, every trace is in one count, every span is in one, and the exported spans match the
// counts.
func TestKeeperCountsExactlyUnderLoad(t *testing.T) {
	k := keep(t, sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.2)), trace.KeepOptions{MaxTraces: 3, MaxSpans: 3})
	held := k.fill(3) // for one trace to overflow for certain; one slot is left, so that more do
	k.end(k.unsampled(), true)
	k.end(held[0], false)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(g), 1))
			for range 200 {
				k.serve(random)
			}
		})
	}
	wg.Wait()
	for _, s := range held[1:] {
		k.end(s, false)
	}

	stats := k.keeper.Stats()
	if sum := stats.Kept + stats.Discarded + stats.Overflowed + stats.Pending; sum != stats.Started || stats.Pending != 0 {
		t.Errorf("the traces do not add up: %+v", stats)
	}
	spans := stats.SpansKept + stats.SpansDiscarded + stats.SpansOverflowed + stats.SpansUnwatched
	if ended := k.ended.Load(); spans != ended || stats.SpansUnwatched == 0 {
		t.Errorf("%d unsampled spans have ended, the counts have %d: %+v", ended, spans, stats)
	}
	if stats.Kept == 0 || stats.Discarded == 0 || stats.Overflowed == 0 || stats.SpansOverflowed == 0 || stats.SpansBuffered != 0 {
		t.Errorf("the load has left an outcome out, or spans behind: %+v", stats)
	}
	var exported, sampled int64
	for _, line := range k.exported(t) {
		if line == "root error" || line == "child error" {
			exported++
		} else {
			sampled++
		}
	}
	if exported != stats.SpansKept {
		t.Errorf("%d spans of kept traces were exported, SpansKept = %d", exported, stats.SpansKept)
	}
	if sampled == 0 {
		t.Error("no sampled span has passed")
	}
}

// unsampled begins a trace that the head sampler drops.
func (k *kept) unsampled() oteltrace.Span {
	for {
		_, s := k.tracer.Start(context.Background(), "held")
		if !s.SpanContext().IsSampled() {
			return s
		}
		s.End()
	}
}

// fill begins n traces that the head sampler drops.
func (k *kept) fill(n int) (held []oteltrace.Span) {
	for range n {
		held = append(held, k.unsampled())
	}
	return held
}

// serve simulates a request with concurrent children, some of which fail, and some of which outlive it.
func (k *kept) serve(random *rand.Rand) {
	ctx, root := k.tracer.Start(context.Background(), "root")
	var wg sync.WaitGroup
	for range 6 {
		bad, late := random.IntN(20) == 0, random.IntN(4) == 0
		child := func() {
			_, s := k.tracer.Start(ctx, "child")
			k.end(s, bad)
		}
		if late {
			wg.Go(child)
		} else {
			child()
		}
	}
	k.end(root, false)
	wg.Wait()
}

// end ends a span and counts it if it is not sampled.
func (k *kept) end(s oteltrace.Span, bad bool) {
	if bad {
		fail(s)
	} else {
		s.End()
	}
	if !s.SpanContext().IsSampled() {
		k.ended.Add(1)
	}
}

func TestKeeperMetrics(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	keeper := trace.NewKeeper(tracetest.NewSpanRecorder(), &trace.KeepOptions{
		Telemetry: telemetry.Providers{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))},
	})
	tp := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(keeper.Sampler(sdktrace.NeverSample())), sdktrace.WithSpanProcessor(keeper))
	ctx, root := tp.Tracer("test").Start(t.Context(), "root")
	_, child := tp.Tracer("test").Start(ctx, "child")
	child.End()
	fail(root)
	_, root = tp.Tracer("test").Start(t.Context(), "root")
	root.End()

	_, child = tp.Tracer("test").Start(oteltrace.ContextWithSpan(t.Context(), root), "after the decision")
	child.End()

	point := func(outcome string, n int64) metricdata.DataPoint[int64] {
		return metricdata.DataPoint[int64]{
			Attributes: attribute.NewSet(attribute.String("goos.trace.keeper.outcome", outcome)), Value: n,
		}
	}
	sum := func(name, unit, description string, points ...metricdata.DataPoint[int64]) metricdata.Metrics {
		return metricdata.Metrics{Name: name, Unit: unit, Description: description, Data: metricdata.Sum[int64]{
			Temporality: metricdata.CumulativeTemporality, IsMonotonic: true, DataPoints: points,
		}}
	}
	want := []metricdata.Metrics{
		sum("goos.trace.keeper.traces", "{trace}", "Traces that began here unsampled and were watched, by what became of them.",
			point("kept", 1), point("discarded", 1), point("overflowed", 0)),
		sum("goos.trace.keeper.spans", "{span}", "Unsampled spans that ended, by what became of them.",
			point("kept", 2), point("discarded", 1), point("overflowed", 0), point("unwatched", 1)),
		{
			Name: "goos.trace.keeper.buffered", Unit: "{span}",
			Description: "Spans held until their trace is decided.",
			Data:        metricdata.Gauge[int64]{DataPoints: []metricdata.DataPoint[int64]{{Value: 0}}},
		},
	}
	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	for i := range want {
		metricdatatest.AssertEqual(t, want[i], got.ScopeMetrics[0].Metrics[i], metricdatatest.IgnoreTimestamp())
	}
	if err := keeper.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := reader.Collect(t.Context(), &got); err != nil || len(got.ScopeMetrics) != 0 {
		t.Errorf("after Shutdown there is still %v (%v)", got.ScopeMetrics, err)
	}
}
