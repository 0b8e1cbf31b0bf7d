package breaker_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/control/router/internal/breaker"
	"github.com/go-os/go-os/internal/fault"
)

// rig is a breaker on a clock that the test moves.
type rig struct {
	*breaker.Breaker
	t       *testing.T
	now     time.Duration
	changes []string
}

func newRig(t *testing.T, c breaker.Config) *rig {
	t.Helper()
	r := &rig{t: t}
	c.Changed = func(from, to breaker.State, reason string) {
		r.changes = append(r.changes, fmt.Sprintf("%v>%v %s", from, to, reason))
	}
	if c.Random == nil {
		c.Random = func() uint64 { return 0 } // no jitter
	}
	b, err := breaker.New(c)
	if err != nil {
		t.Fatal(err)
	}
	r.Breaker = b
	return r
}

func (r *rig) allow() breaker.Permit {
	r.t.Helper()
	p, ok := r.Allow(r.now)
	if !ok {
		r.t.Fatalf("%v: rejected in state %v, want a permit", r.now, r.State(r.now))
	}
	return p
}

func (r *rig) reject() {
	r.t.Helper()
	if _, ok := r.Allow(r.now); ok {
		r.t.Fatalf("%v: allowed in state %v, want a rejection", r.now, r.State(r.now))
	}
}

// call makes n calls with this result, of which the latency is 1 ms.
func (r *rig) call(n int, result breaker.Result) {
	r.t.Helper()
	for range n {
		r.allow().Record(r.now, result, time.Millisecond)
	}
}

func (r *rig) want(s breaker.State) {
	r.t.Helper()
	if got := r.State(r.now); got != s {
		r.t.Fatalf("%v: state %v, want %v (changes %q, counts %+v)", r.now, got, s, r.changes, r.Counts(r.now))
	}
}

func (r *rig) wantChanges(want ...string) {
	r.t.Helper()
	if !slices.Equal(r.changes, want) {
		r.t.Errorf("changes %q, want %q", r.changes, want)
	}
}

func TestBreakerOpensAtRatioAndVolume(t *testing.T) {
	r := newRig(t, breaker.Config{Ratio: 0.5, MinVolume: 10})
	r.call(9, breaker.Failure)
	r.want(breaker.Closed) // the volume is missing
	r.call(1, breaker.Success)
	r.want(breaker.Open) // a success may complete the volume
	r.reject()
	r.wantChanges("closed>open failure_ratio")

	r = newRig(t, breaker.Config{Ratio: 0.5, MinVolume: 10})
	r.call(100, breaker.Success)
	r.call(99, breaker.Failure)
	r.want(breaker.Closed) // 99 of 199 are less than a half, if not by a percent
	r.call(1, breaker.Failure)
	r.want(breaker.Open)
}

func TestBreakerWindowSlides(t *testing.T) {
	r := newRig(t, breaker.Config{Ratio: 0.5, MinVolume: 10, Window: 10 * time.Second})
	r.call(9, breaker.Failure)
	r.now = 9 * time.Second
	if c := r.Counts(r.now); c.Total != 9 || c.Failed != 9 {
		t.Errorf("counts %+v after nine seconds, want 9 failures of 9", c)
	}
	r.now = 10 * time.Second // the first bucket leaves the window
	r.call(9, breaker.Failure)
	r.want(breaker.Closed)
	r.now = time.Hour
	r.call(9, breaker.Failure)
	r.want(breaker.Closed)
	r.call(1, breaker.Failure)
	r.want(breaker.Open)
}

func TestBreakerCountsSlowCalls(t *testing.T) {
	r := newRig(t, breaker.Config{MinVolume: 4, SlowCall: 100 * time.Millisecond, SlowRatio: 0.75, HalfOpen: 4})
	record := func(latencies ...time.Duration) {
		for _, latency := range latencies {
			r.allow().Record(r.now, breaker.Success, latency)
		}
	}
	record(100*time.Millisecond, time.Second, 99*time.Millisecond, 0)
	r.want(breaker.Closed) // two of four
	record(time.Second, time.Second, time.Second, time.Second)
	r.want(breaker.Open) // six of eight
	r.now += 5 * time.Second
	record(time.Second, time.Second, time.Second)
	r.want(breaker.Open)
	r.now += 10 * time.Second
	record(time.Second, 0, time.Second)
	r.want(breaker.HalfOpen) // the fourth trial decides
	record(0)
	r.want(breaker.Closed)
	r.wantChanges("closed>open slow_call_ratio", "open>half_open open_time_over", "half_open>open trials_slow",
		"open>half_open open_time_over", "half_open>closed trials_passed")
}

func TestBreakerHalfOpen(t *testing.T) {
	r := newRig(t, breaker.Config{MinVolume: 1, HalfOpen: 3})
	early := r.allow()
	r.call(1, breaker.Failure)
	r.now = 5*time.Second - 1
	r.reject()
	r.now++
	first, second, third := r.allow(), r.allow(), r.allow()
	r.reject() // three trials, no more
	first.Record(r.now, breaker.Success, 0)
	r.reject() // a trial that has its result is not given out again
	if c := r.Counts(r.now); c.Trials != 1 || c.Pending != 2 {
		t.Errorf("counts %+v, want one trial with a result and two pending", c)
	}
	second.Record(r.now, breaker.Success, 0)
	r.want(breaker.Closed) // the third cannot make two failures of three
	third.Record(r.now, breaker.Failure, 0)
	early.Record(r.now, breaker.Failure, 0)
	r.want(breaker.Closed) // results of before the transition count for nothing
	if c := r.Counts(r.now); c.Total != 0 {
		t.Errorf("counts %+v after closing, want none", c)
	}
}

func TestBreakerOpensLongerEachTime(t *testing.T) {
	r := newRig(t, breaker.Config{MinVolume: 1, HalfOpen: 1, Open: time.Second, MaxOpen: 5 * time.Second})
	r.call(1, breaker.Failure)
	for _, open := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second} {
		if c := r.Counts(r.now); c.Remaining != open {
			t.Errorf("open for %v, want %v", c.Remaining, open)
		}
		r.now += open - 1
		r.reject()
		r.now++
		r.call(1, breaker.Failure)
	}
	r.now += 5 * time.Second
	r.call(1, breaker.Success)
	r.want(breaker.Closed)
	r.call(1, breaker.Failure)
	if c := r.Counts(r.now); c.Remaining != time.Second {
		t.Errorf("open for %v after having been closed, want 1s", c.Remaining)
	}
}

func TestBreakerJitterShortensTheOpenTime(t *testing.T) {
	r := newRig(t, breaker.Config{MinVolume: 1, Open: 8 * time.Second, Random: func() uint64 { return 1 << 63 }})
	r.call(1, breaker.Failure)
	if c := r.Counts(r.now); c.Remaining != 7*time.Second {
		t.Errorf("open for %v at half the jitter, want 7s of 8s", c.Remaining)
	}
}

// TestBreakerNeutralFreesTheTrial: resilience4j#935, a half-open breaker that gets no results must not reject for good.
func TestBreakerNeutralFreesTheTrial(t *testing.T) {
	r := newRig(t, breaker.Config{MinVolume: 1, HalfOpen: 1})
	r.call(1, breaker.Failure)
	r.now += 5 * time.Second
	r.call(100, breaker.Neutral)
	r.want(breaker.HalfOpen)
	r.call(1, breaker.Success)
	r.want(breaker.Closed)
	r.call(100, breaker.Neutral)
	if c := r.Counts(r.now); c.Total != 0 {
		t.Errorf("counts %+v, want none of neutral results", c)
	}
}

func TestBreakerTrialExpires(t *testing.T) {
	r := newRig(t, breaker.Config{MinVolume: 1, HalfOpen: 2, PermitTime: time.Minute})
	r.call(1, breaker.Failure)
	r.now += 5 * time.Second
	lost, kept := r.allow(), r.allow()
	r.now += time.Minute - 1
	r.reject()
	r.now++
	r.call(1, breaker.Success)
	lost.Record(r.now, breaker.Failure, 0)
	kept.Record(r.now, breaker.Failure, 0)
	r.want(breaker.HalfOpen) // the expired permits count for nothing
	r.call(1, breaker.Success)
	r.want(breaker.Closed)
}

func TestBreakerObserves(t *testing.T) {
	r := newRig(t, breaker.Config{MinVolume: 1, HalfOpen: 1, Observe: true})
	if r.allow().WouldReject() {
		t.Error("a closed breaker would reject")
	}
	r.call(1, breaker.Failure)
	for range 3 {
		p := r.allow()
		if !p.WouldReject() {
			t.Error("an open breaker would not reject")
		}
		p.Record(r.now, breaker.Success, 0)
	}
	r.want(breaker.Open)
	r.now += 5 * time.Second
	trial, more := r.allow(), r.allow()
	if trial.WouldReject() || !more.WouldReject() {
		t.Error("want one trial and one call that would be rejected")
	}
	more.Record(r.now, breaker.Failure, 0)
	trial.Record(r.now, breaker.Success, 0)
	r.want(breaker.Closed)
	if c := r.Counts(r.now); c.WouldReject != 4 || c.Rejected != 0 {
		t.Errorf("counts %+v, want 4 that would be rejected and 0 that were", c)
	}
}

func TestBreakerSetConfigKeepsStateAndCounts(t *testing.T) {
	c := breaker.Config{MinVolume: 10, Window: 10 * time.Second, HalfOpen: 5, Random: func() uint64 { return 0 }}
	r := newRig(t, c)
	r.call(5, breaker.Failure)
	c.MinVolume, c.Window = 6, time.Minute
	if err := r.SetConfig(r.now, c); err != nil {
		t.Fatal(err)
	}
	r.now += 30 * time.Second // in the new window, not in the old one
	r.call(1, breaker.Failure)
	r.want(breaker.Open)
	r.now += 5 * time.Second
	r.call(2, breaker.Success)
	c.HalfOpen = 1
	if err := r.SetConfig(r.now, c); err != nil {
		t.Fatal(err)
	}
	r.want(breaker.HalfOpen)
	r.call(1, breaker.Success) // not stuck with more results than trials
	r.want(breaker.Closed)
	if err := r.SetConfig(r.now, breaker.Config{Ratio: 2}); !errors.Is(err, fault.Invalid) {
		t.Errorf("%v, want invalid", err)
	}
}

func TestBreakerInvalid(t *testing.T) {
	for want, c := range map[string]breaker.Config{
		"breaker.Config.Ratio is 1.5: give a share above 0 and up to 1":                           {Ratio: 1.5},
		"breaker.Config.Ratio is -1: give a positive value, or 0 for the default, 0.5":            {Ratio: -1},
		"breaker.Config.MinVolume is -1: give a positive value, or 0 for the default, 20":         {MinVolume: -1},
		"breaker.Config.Window is 1ms: give at least 10ms":                                        {Window: time.Millisecond},
		"breaker.Config.SlowCall is -1ns: give a positive value, or 0 to turn it off":             {SlowCall: -1},
		"breaker.Config.SlowRatio is 2: give a share above 0 and up to 1":                         {SlowRatio: 2},
		"breaker.Config.Open is -1s: give a positive value, or 0 for the default, 5s":             {Open: -time.Second},
		"breaker.Config.MaxOpen is 1s, less than Open, 5s: give at least Open":                    {MaxOpen: time.Second},
		"breaker.Config.HalfOpen is -2: give a positive value, or 0 for the default, 5":           {HalfOpen: -2},
		"breaker.Config.PermitTime is -1ns: give a positive value, or 0 for the default, " + "5s": {PermitTime: -1},
	} {
		_, err := breaker.New(c)
		if !errors.Is(err, fault.Invalid) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if again := c.Validate(); again == nil || again.Error() != err.Error() {
			t.Errorf("Validate says %v, New %v", again, err)
		}
	}
	if err := (breaker.Config{Open: time.Hour}).Validate(); err != nil {
		t.Errorf("an open time above the default maximum: %v", err)
	}
}
