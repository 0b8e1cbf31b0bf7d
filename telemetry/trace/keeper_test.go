package trace_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/telemetry"
	"github.com/go-os/go-os/telemetry/trace"
)

// kept is a provider with a Keeper in front of a batch processor, which exports sampled spans only.
type kept struct {
	exporter *tracetest.InMemoryExporter
	keeper   *trace.Keeper
	tracer   oteltrace.Tracer
	ended    atomic.Int64 // unsampled spans ended by the method end
}

func keep(t *testing.T, head sdktrace.Sampler, opts trace.KeepOptions) *kept {
	t.Helper()
	opts.Telemetry = telemetry.Off()
	k := &kept{exporter: tracetest.NewInMemoryExporter()}
	k.keeper = trace.NewKeeper(sdktrace.NewBatchSpanProcessor(k.exporter, sdktrace.WithMaxQueueSize(1<<15)), &opts)
	tp := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(k.keeper.Sampler(head)), sdktrace.WithSpanProcessor(k.keeper))
	t.Cleanup(func() {
		if err := tp.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	k.tracer = tp.Tracer("test")
	return k
}

// exported returns "name reason" of each exported span.
func (k *kept) exported(t *testing.T) []string {
	t.Helper()
	if err := k.keeper.ForceFlush(context.Background()); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, s := range k.exporter.GetSpans().Snapshots() {
		lines = append(lines, s.Name()+" "+attr(s, "goos.trace.kept"))
	}
	return lines
}

func (k *kept) stats(t *testing.T, want trace.KeepStats) {
	t.Helper()
	if got := k.keeper.Stats(); got != want {
		t.Errorf("Stats() = %+v\nwant %+v", got, want)
	}
}

func fail(s oteltrace.Span) {
	s.SetStatus(codes.Error, "refused")
	s.End()
}

// dropped is the head sampler of most tests, typical for services that keep only important traces.
func dropped() sdktrace.Sampler { return sdktrace.ParentBased(sdktrace.NeverSample()) }

func TestKeeperKeepsATraceWithAnError(t *testing.T) {
	k := keep(t, dropped(), trace.KeepOptions{})
	ctx, root := k.tracer.Start(t.Context(), "root")
	_, first := k.tracer.Start(ctx, "first")
	first.End()
	_, second := k.tracer.Start(ctx, "second")
	fail(second)
	_, third := k.tracer.Start(ctx, "third")
	third.End()
	root.End()

	equal(t, "exported", k.exported(t), []string{"first error", "second error", "third error", "root error"})
	for _, s := range k.exporter.GetSpans() {
		if !s.SpanContext.IsSampled() || s.SpanContext.TraceID() != root.SpanContext().TraceID() {
			t.Errorf("%s was exported as %+v, want it sampled and of the same trace", s.Name, s.SpanContext)
		}
		if s.Name == "root" {
			if s.Parent.IsValid() {
				t.Errorf("the root has the parent %+v", s.Parent)
			}
			continue
		}
		if !s.Parent.IsSampled() || s.Parent.SpanID() != root.SpanContext().SpanID() {
			t.Errorf("%s has the parent %+v, want the root, sampled", s.Name, s.Parent)
		}
	}
	k.stats(t, trace.KeepStats{Started: 1, Kept: 1, SpansKept: 4})
	if root.SpanContext().IsSampled() {
		t.Error("the running trace claims to be sampled, which a callee would believe")
	}
}

func TestKeeperKeepsASlowTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, dropped(), trace.KeepOptions{Slow: time.Second, IgnoreErrors: true})
		for _, test := range []struct {
			name string
			d    time.Duration
		}{{"quick", time.Second - 1}, {"slow", time.Second}} {
			ctx, root := k.tracer.Start(t.Context(), test.name)
			_, child := k.tracer.Start(ctx, test.name+" child")
			fail(child)
			after(test.d)
			root.End()
		}
		equal(t, "exported", k.exported(t), []string{"slow child slow", "slow slow"})
		k.stats(t, trace.KeepStats{Started: 2, Kept: 1, Discarded: 1, SpansKept: 2, SpansDiscarded: 2})
	})
}

func TestKeeperDiscardsWhatWentWell(t *testing.T) {
	k := keep(t, dropped(), trace.KeepOptions{Slow: time.Hour})
	for range 3 {
		ctx, root := k.tracer.Start(t.Context(), "root")
		_, child := k.tracer.Start(ctx, "child")
		child.End()
		root.End()
	}
	equal(t, "exported", k.exported(t), nil)
	k.stats(t, trace.KeepStats{Started: 3, Discarded: 3, SpansDiscarded: 6})
}

func TestKeeperPassesSampledSpans(t *testing.T) {
	k := keep(t, sdktrace.AlwaysSample(), trace.KeepOptions{})
	_, root := k.tracer.Start(t.Context(), "root")
	fail(root)
	equal(t, "exported", k.exported(t), []string{"root "})
	k.stats(t, trace.KeepStats{})
}

func TestKeeperLeavesTracesOfOthersDropped(t *testing.T) {
	k := keep(t, dropped(), trace.KeepOptions{})
	caller := oteltrace.NewSpanContext(oteltrace.SpanContextConfig{
		TraceID: oteltrace.TraceID{1}, SpanID: oteltrace.SpanID{1}, Remote: true,
	})
	ctx, entry := k.tracer.Start(oteltrace.ContextWithRemoteSpanContext(t.Context(), caller), "entry")
	_, child := k.tracer.Start(ctx, "child")
	if entry.IsRecording() || child.IsRecording() {
		t.Errorf("recording: entry %v, child %v; want neither", entry.IsRecording(), child.IsRecording())
	}
	fail(child)
	fail(entry)
	equal(t, "exported", k.exported(t), nil)
	k.stats(t, trace.KeepStats{})
}

// A child that begins after its parent has ended belongs to the trace like any other.
func TestKeeperWaitsForLateChildren(t *testing.T) {
	k := keep(t, dropped(), trace.KeepOptions{})
	ctx, root := k.tracer.Start(t.Context(), "root")
	lateCtx, late := k.tracer.Start(ctx, "late")
	root.End()
	k.stats(t, trace.KeepStats{Started: 1, Pending: 1, SpansBuffered: 1})
	_, later := k.tracer.Start(lateCtx, "later")
	late.End()
	fail(later)
	_, after := k.tracer.Start(lateCtx, "after the decision")
	after.End()
	equal(t, "exported", k.exported(t),
		[]string{"root error", "late error", "later error", "after the decision error"})
	k.stats(t, trace.KeepStats{Started: 1, Kept: 1, SpansKept: 4})
}

func TestKeeperWaitsNoLongerThanLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, dropped(), trace.KeepOptions{Linger: time.Second})
		ctx, root := k.tracer.Start(t.Context(), "root")
		_, late := k.tracer.Start(ctx, "late")
		root.End()
		after(time.Second)
		equal(t, "exported", k.exported(t), nil)
		k.stats(t, trace.KeepStats{Started: 1, Discarded: 1, SpansDiscarded: 1})
		fail(late)
		equal(t, "exported after the decision", k.exported(t), nil)
		k.stats(t, trace.KeepStats{Started: 1, Discarded: 1, SpansDiscarded: 1, SpansUnwatched: 1})
	})
}

func TestKeeperJudgesAnOldTrace(t *testing.T) {
	for _, test := range []struct {
		slow     time.Duration
		exported []string
		stats    trace.KeepStats
	}{
		{0, nil, trace.KeepStats{Started: 1, Overflowed: 1, SpansOverflowed: 1, SpansUnwatched: 1}},
		{time.Second, []string{"child slow", "root slow"}, trace.KeepStats{Started: 1, Kept: 1, SpansKept: 2}},
	} {
		t.Run(fmt.Sprint("slow ", test.slow), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := keep(t, dropped(), trace.KeepOptions{Slow: test.slow, MaxAge: time.Minute})
				ctx, root := k.tracer.Start(t.Context(), "root")
				_, child := k.tracer.Start(ctx, "child")
				child.End()
				after(time.Minute)
				k.exported(t) // a flush is what checks the deadlines of an idle trace
				root.End()
				equal(t, "exported", k.exported(t), test.exported)
				k.stats(t, test.stats)
			})
		})
	}
}

// MaxAge must not declare a trace slow before it is.
func TestKeeperWaitsAtLeastForSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, dropped(), trace.KeepOptions{Slow: 2 * time.Minute, MaxAge: time.Minute})
		_, root := k.tracer.Start(t.Context(), "root")
		after(90 * time.Second)
		equal(t, "exported", k.exported(t), nil)
		root.End()
		k.stats(t, trace.KeepStats{Started: 1, Discarded: 1, SpansDiscarded: 1})
	})
}

// A threshold in the tracestate would count the kept trace many times in an estimate of the traffic.
func TestKeeperLeavesTheSamplingThresholdOut(t *testing.T) {
	k := keep(t, thresholdSampler{}, trace.KeepOptions{})
	_, root := k.tracer.Start(t.Context(), "root")
	if got := root.SpanContext().TraceState().Get("ot"); got != "" {
		t.Errorf("the trace carries ot=%s although it did not pass the threshold", got)
	}
	fail(root)
	equal(t, "exported", k.exported(t), []string{"root error"})
}

// thresholdSampler drops spans, and writes its threshold like consistent probability samplers.
type thresholdSampler struct{}

func (thresholdSampler) ShouldSample(sdktrace.SamplingParameters) sdktrace.SamplingResult {
	state, _ := oteltrace.ParseTraceState("ot=th:c")
	return sdktrace.SamplingResult{Decision: sdktrace.Drop, Tracestate: state}
}
func (thresholdSampler) Description() string { return "threshold" }

func TestKeeperShutdown(t *testing.T) {
	k := keep(t, dropped(), trace.KeepOptions{})
	ctx, root := k.tracer.Start(t.Context(), "root")
	_, child := k.tracer.Start(ctx, "child")
	child.End()
	if err := k.keeper.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	fail(root)
	_, next := k.tracer.Start(t.Context(), "next")
	fail(next)
	k.stats(t, trace.KeepStats{Started: 1, Discarded: 1, SpansDiscarded: 1, SpansUnwatched: 2})
}

func TestKeeperSamplerDescribesItself(t *testing.T) {
	k := keep(t, dropped(), trace.KeepOptions{})
	got, want := k.keeper.Sampler(sdktrace.NeverSample()).Description(), "Keeper{root:AlwaysOffSampler}"
	if got != want {
		t.Errorf("Description() = %q, want %q", got, want)
	}
}
