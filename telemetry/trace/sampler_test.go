package trace_test

import (
	"context"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/telemetry"
	"github.com/go-os/go-os/telemetry/trace"
)

// decision returns the decision of s about a new trace.
func decision(s sdktrace.Sampler) sdktrace.SamplingDecision {
	return s.ShouldSample(sdktrace.SamplingParameters{
		ParentContext: context.Background(),
		TraceID:       oteltrace.TraceID{15: 1},
	}).Decision
}

func mustSet(t *testing.T, s *trace.Sampler, sampler sdktrace.Sampler, revert time.Duration) {
	t.Helper()
	if err := s.Set(sampler, revert); err != nil {
		t.Error(err)
	}
}

// A refused change must neither become permanent instead of temporary, nor end a temporary change.
func TestSamplerRefusesImpossibleChanges(t *testing.T) {
	s := trace.NewSampler(sdktrace.NeverSample())
	mustSet(t, s, sdktrace.NeverSample(), time.Hour)
	revertsAt := s.RevertsAt()
	for says, err := range map[string]error{
		"sampler to set is nil": s.Set(nil, 0),
		"must not be negative":  s.Set(sdktrace.AlwaysSample(), -time.Second),
		"after -1s":             s.SetRatio(1, -time.Second),
	} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("the error is %v, want it to say %q", err, says)
		}
	}
	if got := decision(s); got != sdktrace.Drop || !s.RevertsAt().Equal(revertsAt) {
		t.Errorf("refused changes have left it at %v, reverting at %v", got, s.RevertsAt())
	}
	s.Revert()
	if got := decision(s); got != sdktrace.Drop {
		t.Errorf("refused changes have become what it reverts to: %v", got)
	}
}

func TestSamplerIsReplaced(t *testing.T) {
	s := trace.NewSampler(nil)
	if got := decision(s); got != sdktrace.RecordAndSample {
		t.Errorf("a new Sampler decides %v, want to sample", got)
	}
	mustSet(t, s, sdktrace.NeverSample(), 0)
	if got := decision(s); got != sdktrace.Drop {
		t.Errorf("after Set(NeverSample) it decides %v, want to drop", got)
	}
	if got, want := s.Description(), "Sampler{AlwaysOffSampler}"; got != want {
		t.Errorf("Description() = %q, want %q", got, want)
	}
}

func TestSamplerRatioFollowsTheCaller(t *testing.T) {
	s := trace.NewSampler(nil)
	if err := s.SetRatio(0, 0); err != nil {
		t.Fatal(err)
	}
	if got := decision(s); got != sdktrace.Drop {
		t.Errorf("ratio 0 decides %v on a new trace, want to drop", got)
	}
	caller := oteltrace.NewSpanContext(oteltrace.SpanContextConfig{
		TraceID: oteltrace.TraceID{1}, SpanID: oteltrace.SpanID{1}, TraceFlags: oteltrace.FlagsSampled, Remote: true,
	})
	got := s.ShouldSample(sdktrace.SamplingParameters{
		ParentContext: oteltrace.ContextWithRemoteSpanContext(context.Background(), caller),
		TraceID:       caller.TraceID(),
	}).Decision
	if got != sdktrace.RecordAndSample {
		t.Errorf("ratio 0 decides %v on a trace that the caller sampled, want to sample", got)
	}
	if err := s.SetRatio(1, 0); err != nil {
		t.Fatal(err)
	}
	if got := decision(s); got != sdktrace.RecordAndSample {
		t.Errorf("ratio 1 decides %v, want to sample", got)
	}
}

func TestSamplerRefusesImpossibleRatios(t *testing.T) {
	s := trace.NewSampler(sdktrace.NeverSample())
	for _, ratio := range []float64{-0.1, 1.1, math.NaN(), math.Inf(1)} {
		err := s.SetRatio(ratio, 0)
		if err == nil || !strings.Contains(err.Error(), "between 0") {
			t.Errorf("SetRatio(%v) = %v, want an error that names the bounds", ratio, err)
		}
		if got := decision(s); got != sdktrace.Drop {
			t.Errorf("SetRatio(%v) changed the decision to %v", ratio, got)
		}
	}
}

func TestSamplerReverts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := trace.NewSampler(sdktrace.NeverSample())
		mustSet(t, s, sdktrace.AlwaysSample(), time.Minute)
		if want := time.Now().Add(time.Minute); !s.RevertsAt().Equal(want) {
			t.Errorf("RevertsAt() = %v, want %v", s.RevertsAt(), want)
		}
		after(59 * time.Second)
		// A second temporary change restarts the time, and reverts to the sampler before the first.
		mustSet(t, s, sdktrace.AlwaysSample(), time.Minute)
		after(59 * time.Second)
		if got := decision(s); got != sdktrace.RecordAndSample {
			t.Errorf("before the revert it decides %v, want to sample", got)
		}
		after(time.Second)
		if got := decision(s); got != sdktrace.Drop {
			t.Errorf("after the revert it decides %v, want to drop", got)
		}
		if !s.RevertsAt().IsZero() {
			t.Errorf("RevertsAt() = %v after the revert, want zero", s.RevertsAt())
		}
	})
}

func TestSamplerSetForGoodCancelsTheRevert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := trace.NewSampler(sdktrace.NeverSample())
		mustSet(t, s, sdktrace.NeverSample(), time.Second)
		mustSet(t, s, sdktrace.AlwaysSample(), 0)
		after(time.Hour)
		if got := decision(s); got != sdktrace.RecordAndSample {
			t.Errorf("an hour after a Set for good it decides %v, want to sample", got)
		}
	})
}

// A revert that is due at the moment of another change may already run when the change overtakes it.
func TestSamplerChangeOvertakesTheRevert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 2000 {
			s := trace.NewSampler(sdktrace.NeverSample())
			mustSet(t, s, sdktrace.NeverSample(), time.Second)
			go func() {
				<-time.After(time.Second)
				mustSet(t, s, sdktrace.AlwaysSample(), time.Hour)
			}()
			after(time.Second)
			if got := decision(s); got != sdktrace.RecordAndSample {
				t.Fatalf("it decides %v: the old revert has undone the new change", got)
			}
			s.Revert()
		}
	})
}

func TestSamplerRevertNow(t *testing.T) {
	s := trace.NewSampler(sdktrace.NeverSample())
	mustSet(t, s, sdktrace.AlwaysSample(), time.Hour)
	s.Revert()
	if got := decision(s); got != sdktrace.Drop {
		t.Errorf("after Revert it decides %v, want to drop", got)
	}
	mustSet(t, s, sdktrace.AlwaysSample(), 0)
	s.Revert()
	if got := decision(s); got != sdktrace.RecordAndSample {
		t.Errorf("Revert undid a change for good: it decides %v", got)
	}
}

func TestSamplerEmitsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events recorded
		s := trace.NewSampler(nil)
		s.Observe(telemetry.Providers{
			LoggerProvider: sdklog.NewLoggerProvider(sdklog.WithProcessor(&events)),
		})
		mustSet(t, s, sdktrace.NeverSample(), 0)
		mustSet(t, s, sdktrace.AlwaysSample(), time.Second)
		after(time.Second)
		want := []string{
			"goos.trace.sampler.changed AlwaysOffSampler set",
			"goos.trace.sampler.changed AlwaysOnSampler temporary",
			"goos.trace.sampler.changed AlwaysOffSampler reverted",
		}
		equal(t, "events", events.lines("goos.trace.sampler.description", "goos.trace.sampler.reason"), want)
	})
}

// Run with -race: changes, reverts and decisions are concurrent, and the last permanent change is current at the
// end.
func TestSamplerConcurrently(t *testing.T) {
	s := trace.NewSampler(nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				mustSet(t, s, sdktrace.AlwaysSample(), time.Duration(i%3)*time.Microsecond)
				decision(s)
				_ = s.Description()
				s.Revert()
			}
		})
	}
	wg.Wait()
	mustSet(t, s, sdktrace.NeverSample(), 0)
	if got := decision(s); got != sdktrace.Drop {
		t.Errorf("after the last Set it decides %v, want to drop", got)
	}
}
