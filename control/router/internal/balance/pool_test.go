package balance

import (
	"math"
	"testing"
	"time"
)

// probed returns a Balancer of Prequal whose pool has the reports, of the endpoints of the set in order.
func probed(reports ...load) (*Balancer, *Set) {
	b, s := fleet(Prequal, len(reports))
	b.config.Probes.Remove = 0
	for i, r := range reports {
		b.pool.add(probe{endpoint: s.At(i), set: s, index: i, uses: 1000})
		s.At(i).Report(0, r.inFlight, r.latency, true)
	}
	b.pool.collect(0, time.Second, mostProbes)
	b.pool.quantile(b.config.Probes.Hot)
	b.config.Probes.Pool = mostProbes
	return b, s
}

type load struct {
	inFlight int
	latency  time.Duration
}

func TestHotColdRule(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name string
		hot  float64
		want int
		why  Reason
	}{
		{"the fastest of the cold", 5, 2, Cold},
		{"nobody is hot", 100, 3, Cold},
		{"all are hot", -1, 0, Hot},
		{"one is cold", 1, 0, Cold},
	} {
		b, s := probed(load{1, 50 * ms}, load{3, 40 * ms}, load{5, 30 * ms}, load{50, 10 * ms})
		b.config.Probes.Pool, b.pool.hot = 64, test.hot
		s2 := NewSet(append(s.endpoints, endpoints(200)...), nil) // the pool is at most a quarter of the fleet
		if i, why := b.Pick(0, s2, Key{}, nil); i != test.want || why != test.why {
			t.Errorf("%s: endpoint %d, %v, want %d, %v", test.name, i, why, test.want, test.why)
		}
	}
}

func TestRequestsUseAnswersOfAQuarterOfTheFleet(t *testing.T) {
	p := Probes{}.withDefaults()
	for n, want := range map[int]int{1: 2, 4: 2, 20: 5, 64: 16, 100: 16, 1000: 16} {
		if got := p.size(n); got != want {
			t.Errorf("answers for %d endpoints = %d, want %d", n, got, want)
		}
	}
}

// The figures are those of the formula of the paper with n = 100 and m = 16.
func TestReuse(t *testing.T) {
	for _, test := range []struct{ rate, remove, want float64 }{
		{3, 1, 1.32}, {1, 0.25, 3.39}, {0.5, 0.25, 11.76}, {1, 1, mostProbes},
	} {
		p := Probes{Rate: test.rate, Remove: test.remove}.withDefaults()
		if got := p.reuses(100); math.Abs(got-test.want) > 0.01 {
			t.Errorf("reuses at rate %v, removal %v = %.2f, want %.2f", test.rate, test.remove, got, test.want)
		}
	}
}

func TestOldAnswersAreNotUsed(t *testing.T) {
	b, s := probed(load{1, time.Millisecond}, load{1, time.Millisecond}, load{1, time.Millisecond})
	if _, why := b.Pick(time.Second, s, Key{}, nil); why != Cold {
		t.Errorf("reason %v with answers of 1 s, want cold", why)
	}
	if _, why := b.Pick(time.Second+1, s, Key{}, nil); why != Fallback {
		t.Errorf("reason %v with answers of more than 1 s, want fallback", why)
	}
}

func TestOwnRequestsCountSinceTheReport(t *testing.T) {
	e := NewEndpoint(0)
	e.Report(0, 3, time.Millisecond, true)
	first := e.Begin(0, false)
	e.Begin(0, false)
	if got := e.reportedLoad(); got != 5 {
		t.Errorf("3 reported, 2 sent since: %v in flight, want 5", got)
	}
	first.Done(time.Millisecond, Success)
	e.Report(0, 1, time.Millisecond, false)
	if got := e.reportedLoad(); got != 1 {
		t.Errorf("after a new report of 1: %v in flight, want 1", got)
	}
}

func TestServersThatLie(t *testing.T) {
	e := NewEndpoint(0)
	for range 7 {
		e.Begin(0, false)
	}
	e.Report(time.Second, -5, -time.Second, true)
	if load, latency := e.reportedLoad(), e.reportedLatency(2*time.Second, 0); load != 7 || latency != 2e9 {
		t.Errorf("a server with 7 old requests that claims to be idle: load %v, latency %v, want 7, 2 s", load, latency)
	}
	e.Report(time.Second, math.MaxInt, math.MaxInt64, true)
	if load := e.reportedLoad(); load < mostReported || load > mostReported+7 {
		t.Errorf("a server that claims more than is possible: load %v, want about %d", load, mostReported)
	}
}

func TestProbesOfAnotherSet(t *testing.T) {
	b, s := probed(load{1, 10 * time.Millisecond}, load{2, time.Millisecond}, load{3, 20 * time.Millisecond})
	b.pool.hot = 100
	part := NewSet([]*Endpoint{s.At(2), s.At(0)}, nil)
	if i, why := b.Pick(0, part, Key{}, nil); i != 1 || why != Cold {
		t.Errorf("Pick of a part = %d, %v, want 1, cold: endpoint 1 of the whole is not in it", i, why)
	}
	if i, why := b.Pick(0, s, Key{}, nil); i != 1 || why != Cold {
		t.Errorf("Pick of the whole = %d, %v, want 1, cold", i, why)
	}
}

// A server that has finished nothing yet has no latency to report. It must not look like the fastest.
func TestServersWithoutLatency(t *testing.T) {
	e := NewEndpoint(0)
	e.Report(0, 1, 0, true)
	if got := e.reportedLatency(0, 5e6); got != 5e6 {
		t.Errorf("latency of an unknown server %v, want the usual 5 ms", got)
	}
	e.Begin(0, false).Done(20*time.Millisecond, Success)
	if got := e.reportedLatency(20*time.Millisecond, 5e6); got != 20e6 {
		t.Errorf("latency of a server that this client knows %v, want its own 20 ms", got)
	}
}
