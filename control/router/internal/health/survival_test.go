package health_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/go-os/go-os/control/router/internal/health"
)

// TestStateSurvivesAbsence: for ten minutes, by instance and address, in the same incarnation.
func TestStateSurvivesAbsence(t *testing.T) {
	f := newFleet(t, 3, health.Config{})
	old := f.targets[2]
	f.record(2, 4, health.GatewayFault)
	f.resize(2)
	f.pass(health.Memory)
	f.resize(3)
	if f.targets[2] != old || !f.record(2, 1, health.GatewayFault) {
		t.Error("the run of faults has not survived an absence of ten minutes")
	}
	f.resize(2)
	f.pass(health.Memory + time.Millisecond)
	f.resize(3)
	if f.targets[2] == old {
		t.Error("the target has survived more than ten minutes")
	}
	if f.Track(f.now, key(1), "b") == f.targets[1] {
		t.Error("a new incarnation has inherited the state of the old one")
	}
	if f.Track(f.now, health.Key{ID: "i1", Address: "10.0.0.9:80"}, "a") == f.targets[1] {
		t.Error("another address has inherited the state")
	}
}

// TestForgottenTargetReturns: a caller may hold a target for longer than the Monitor. It is judged again when it is present again.
func TestForgottenTargetReturns(t *testing.T) {
	f := newFleet(t, 3, health.Config{})
	first := f.targets[2]
	second := f.Track(f.now, first.Key(), "b") // a restart
	f.Retain(f.now, append(f.targets[:2:2], second, first))
	if first.Record(f.now, health.GatewayFault); f.record(2, 4, health.GatewayFault) || first.Ejected(f.now) {
		t.Error("the process that is gone is ejected")
	}
	f.pass(2 * health.Memory)
	f.Retain(f.now, f.targets) // late news of the first one
	if !f.record(2, 5, health.GatewayFault) {
		t.Error("the target that returns is not judged")
	}
	f.want(2)
	f.Retain(f.now, append(f.targets[:2:2], second))
	f.want(2)
	for range 5 {
		second.Record(f.now, health.GatewayFault)
	}
	if !second.Ejected(f.now) {
		t.Error("the ejection of a replaced target counts for the maximum")
	}
}

// TestFlapping: endpoints that come and go each second lose nothing: runs, ejections, counters and ramps continue.
func TestFlapping(t *testing.T) {
	f := newFleet(t, 10, health.Config{MaxPercent: 20})
	f.pass(time.Minute)
	f.resize(11)
	f.pass(5 * time.Second)
	f.resize(12) // at half of the ramp of number 10, number 11 begins its own
	f.record(3, 5, health.GatewayFault)
	for range 4 {
		f.record(11, 1, health.GatewayFault)
		f.resize(1)
		f.pass(time.Second)
		f.resize(12)
	}
	f.want(3)
	if got := [2]float64{f.targets[10].Weight(f.now), f.targets[11].Weight(f.now)}; !near(got[0], .9) || !near(got[1], .4) {
		t.Errorf("the weights are %v, want 0.9 and 0.4", got)
	}
	f.record(11, 1, health.GatewayFault)
	f.want(3, 11)
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-6 }

func TestSlowStart(t *testing.T) {
	f := newFleet(t, 3, health.Config{})
	for i, target := range f.targets {
		if w := target.Weight(f.now); w != 1 {
			t.Errorf("the first endpoints ramp up: %d has the weight %v", i, w)
		}
	}
	f.pass(time.Second)
	f.resize(4) // the registry finds the first ones one by one
	f.pass(time.Minute)
	f.resize(5)
	for _, want := range []float64{.1, .2, .4, .6, .8, 1} {
		if got := f.targets[4].Weight(f.now); !near(got, want) {
			t.Errorf("the weight of the new endpoint is %v, want %v", got, want)
		}
		f.pass(2 * time.Second)
	}
	if w := f.targets[3].Weight(f.now); w != 1 {
		t.Errorf("the fourth endpoint has the weight %v", w)
	}
	f.record(3, 5, health.GatewayFault)
	if w := f.targets[3].Weight(f.now); w != 1 {
		t.Errorf("an ejected endpoint has the weight %v", w)
	}
	f.pass(health.DefaultBaseEjection + 3*time.Second)
	if w := f.targets[3].Weight(f.now); !near(w, .3) {
		t.Errorf("three seconds after its return the endpoint has the weight %v, want 0.3", w)
	}
	f.SetConfig(health.Config{SlowStart: health.SlowStart{Aggression: 2}})
	if w := f.targets[3].Weight(f.now); !near(w, math.Sqrt(.3)) {
		t.Errorf("with an aggression of 2 the weight is %v, want √0.3", w)
	}
	f.SetConfig(health.Config{SlowStart: health.SlowStart{MinWeight: 1}})
	if w := f.targets[3].Weight(f.now); w != 1 {
		t.Errorf("without slow start the weight is %v", w)
	}
}

// TestUntil: a table that is built at each Until, and at no other time, is never more than a step of the ramp out of date.
func TestUntil(t *testing.T) {
	f := newFleet(t, 3, health.Config{})
	if got := f.Until(f.now); got != math.MaxInt64 {
		t.Errorf("something is due at %v", got)
	}
	f.record(0, 5, health.GatewayFault)
	if got := f.Until(f.now); got != f.now+health.DefaultBaseEjection {
		t.Errorf("the next change is at %v, want the end of the ejection", got)
	}
	f.now = f.Until(f.now)
	f.want()
	weight, steps := 0., 0
	for ; f.Until(f.now) != math.MaxInt64; f.now = f.Until(f.now) {
		w := f.targets[0].Weight(f.now)
		if w-weight > .1+1e-9 || steps > 30 {
			t.Fatalf("step %d: the weight rises from %v to %v", steps, weight, w)
		}
		weight = w
		steps++
	}
	if w := f.targets[0].Weight(f.now); w != 1 {
		t.Errorf("the ramp ends at %v", w)
	}
}

// TestMemoryIsBounded: endpoints with new names in each second do not fill the memory.
func TestMemoryIsBounded(t *testing.T) {
	f := newFleet(t, 5, health.Config{})
	var first *health.Target
	for i := range 1200 {
		k := health.Key{ID: fmt.Sprint("churn", i)}
		target := f.Track(f.now, k, "a")
		if i == 0 {
			first = target
		}
		f.Retain(f.now, append(f.targets[:5:5], target))
		f.now += time.Millisecond
	}
	if f.Track(f.now, first.Key(), "a") == first {
		t.Error("the oldest absent target is still remembered")
	}
	if n := f.Known(); n > 1100 {
		t.Errorf("%d targets are remembered", n)
	}
}

// TestMaximum: whatever happens, no more than the maximum is ejected (istio/istio#20135), and an outage ejects as many as it may.
func TestMaximum(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 7))
		maximum := 1 + r.IntN(100)
		f := newFleet(t, 1+r.IntN(40), health.Config{MaxPercent: maximum, Random: r.Uint64})
		for range 300 {
			switch i := r.IntN(len(f.targets)); r.IntN(8) {
			case 0:
				f.resize(1 + r.IntN(40))
			case 1:
				f.pass(time.Duration(r.IntN(20000)) * time.Millisecond)
			case 2:
				f.Eject(f.now, f.targets[i], "breaker", f.now+time.Duration(r.IntN(60))*time.Second)
			case 3:
				f.load(r.IntN(200), r.Float64())
			case 4:
				maximum = 1 + r.IntN(100)
				f.SetConfig(health.Config{MaxPercent: maximum, Random: r.Uint64, Interval: time.Duration(1+r.IntN(10)) * time.Second})
				f.Sweep(f.now)
			default:
				f.record(i, r.IntN(12), health.GatewayFault)
			}
			n := len(f.targets)
			if got, most := len(f.ejected()), min(max(n*maximum/100, 1), n-1); got > most {
				t.Fatalf("seed %d: %d of %d are ejected, %d %% are allowed", seed, got, n, maximum)
			}
		}
		for i := range f.targets {
			f.record(i, 5, health.GatewayFault)
		}
		n := len(f.targets)
		if got, most := len(f.ejected()), min(max(n*maximum/100, 1), n-1); got != most {
			t.Fatalf("seed %d: an outage ejects %d of %d, want %d (%d %%)", seed, got, n, most, maximum)
		}
	}
}

// TestConcurrency records, sweeps, retains and reads from several goroutines. The maximum holds at the end, and all results are counted.
func TestConcurrency(t *testing.T) {
	const workers, rounds = 4, 3000
	m := health.New(health.Config{MaxPercent: 20, BaseEjection: time.Millisecond, Interval: time.Millisecond, Changed: func(health.Change) {}})
	var targets []*health.Target
	for i := range 20 {
		targets = append(targets, m.Track(0, key(i), "a"))
	}
	m.Retain(0, targets)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for n := range rounds {
				now := time.Duration(n) * 10 * time.Microsecond
				target := targets[r.IntN(len(targets))]
				target.Record(now, health.Result(r.IntN(6)))
				for range 5 {
					target.Record(now, health.GatewayFault)
				}
				target.Ejected(now)
				target.Weight(now)
				m.Sweep(now)
				switch r.IntN(50) {
				case 0:
					m.Retain(now, targets[:10+r.IntN(10)])
				case 1:
					m.SetConfig(health.Config{MaxPercent: 20, Interval: time.Millisecond, Observe: r.IntN(2) == 0})
				case 2:
					target.Status(now)
					m.Until(now)
				}
			}
		})
	}
	group.Wait()
	end := time.Duration(rounds) * 10 * time.Microsecond
	m.SetConfig(health.Config{MaxPercent: 20})
	m.Retain(end, targets)
	n := 0
	for _, target := range targets {
		if target.Ejected(end) {
			n++
		}
	}
	if n > 4 {
		t.Errorf("%d of 20 are ejected, 4 are allowed", n)
	}
}
