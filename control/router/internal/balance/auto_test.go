package balance

import (
	"testing"
	"time"
)

// call sends requests to an endpoint at a rate for a while, each of which takes 100 ms.
func call(e *Endpoint, from, until time.Duration, perSecond int) {
	const tick, latency = 10 * time.Millisecond, 10
	gap := 100 / perSecond // in ticks
	open := map[int]Ticket{}
	for n := 0; from+time.Duration(n)*tick < until+latency*tick; n++ {
		now := from + time.Duration(n)*tick
		open[n-latency].Done(now, Success)
		if n%gap == 0 && now < until {
			open[n] = e.Begin(now, false)
		}
	}
}

func TestFreshnessHasHysteresis(t *testing.T) {
	e := NewEndpoint(0)
	now := time.Duration(0)
	for _, step := range []struct {
		perSecond int
		probed    bool
	}{
		{1, true},   // freshness 0.1
		{10, true},  // 1: not fresh enough to change
		{50, false}, // 5
		{10, false}, // 1: not stale enough to change
		{1, true},   // 0.1
		{100, false},
	} {
		until := now + time.Minute
		call(e, now, until, step.perSecond)
		now = until + 100*time.Millisecond
		if got := e.refreshed(now); got != step.probed {
			t.Errorf("at %d calls a second: freshness %.2f, probed %t, want %t", step.perSecond, e.Freshness(now), got, step.probed)
		}
	}
}

func TestAutoProbesOnlyWhatItSeldomCalls(t *testing.T) {
	b, s := fleet(Auto, 10)
	for i := range 5 {
		call(s.At(i), 0, time.Minute, 100)
	}
	now, probes := time.Minute, 0
	for range 50 { // so few that the endpoints stay as they are
		now += time.Millisecond
		i, _ := b.Pick(now, s, Key{}, nil)
		for {
			p, ok := b.Probe(now, s, i)
			if !ok {
				break
			}
			probes++
			if p < 5 {
				t.Fatalf("endpoint %d was probed, although this client calls it often", p)
			}
			s.At(p).Report(now, 0, time.Millisecond, true)
		}
	}
	if probes == 0 {
		t.Error("no probes of the endpoints that this client seldom calls")
	}
}

func TestNoProbesWithoutTraffic(t *testing.T) {
	b, s := fleet(Auto, 100)
	if i, ok := b.Probe(0, s, -1); ok {
		t.Errorf("probe of endpoint %d before the first request", i)
	}
	b.Pick(0, s, Key{}, nil)
	if n := answerProbes(b, s, 0, -1); n != 3 {
		t.Errorf("the first request caused %d probes, want 3", n)
	}
	if i, ok := b.Probe(time.Minute, s, -1); ok {
		t.Errorf("probe of endpoint %d a minute after the last request", i)
	}
	for range 1000 { // nobody asks for the probes
		b.Pick(time.Minute, s, Key{}, nil)
	}
	if n := answerProbes(b, s, time.Minute, -1); n > 7 {
		t.Errorf("%d probes at once, want at most 7", n)
	}
}

func TestPoliciesWithoutProbes(t *testing.T) {
	for _, p := range []Policy{RoundRobin, Weighted, LeastRequest, PeakEWMA, ConsistentHash} {
		b, s := fleet(p, 10)
		i, _ := b.Pick(0, s, Key{}, nil)
		if n := answerProbes(b, s, 0, i); n != 0 {
			t.Errorf("%v: %d probes, want 0", p, n)
		}
	}
}

func TestRefusedProbesEndForTenMinutes(t *testing.T) {
	for _, p := range []Policy{Auto, Prequal} {
		b, s := fleet(p, 5)
		for i := range s.Len() {
			s.At(i).ProbeRefused(0)
		}
		probes := func(from, until time.Duration) (n int) {
			for now := from; now < until; now += time.Second {
				i, _ := b.Pick(now, s, Key{}, nil)
				n += answerProbes(b, s, now, i)
			}
			return n
		}
		if n := probes(0, 10*time.Minute); n != 0 {
			t.Errorf("%v: %d probes within ten minutes after a refusal, want 0", p, n)
		}
		if n := probes(10*time.Minute, 11*time.Minute); n == 0 {
			t.Errorf("%v: no probes more than ten minutes after a refusal", p)
		}
	}
}
