package simulation

import (
	"os"
	"testing"
	"time"

	"github.com/go-os/go-os/control/router/internal/balance"
	"github.com/go-os/go-os/internal/tooling/suite"
)

// measure skips a test that takes minutes.
func measure(t *testing.T) {
	if os.Getenv("OS_TEST_MEASURE") != "on" {
		t.Skip("takes minutes: set OS_TEST_MEASURE=on to run it")
	}
}

// p99 returns the 99th percentile of a policy in milliseconds, and the timeouts: the means of some seeds.
func p99(config Config, seeds int, policy func() Policy) (ms float64, timeouts int) {
	for seed := range seeds {
		config.Seed = uint64(seed) + 1
		r := Run(config, policy())
		ms += r.Quantile(0.99).Seconds() * 1000 / float64(seeds)
		timeouts += r.Timeouts
	}
	return ms, timeouts
}

func fixed(p Policy) func() Policy { return func() Policy { return p } }

// published are the fleets of the published figures.
func published(n int, load float64) Config {
	return Config{Clients: n, Servers: n, Load: load, Requests: 100_000}
}

func TestPublishedLargeFleet(t *testing.T) {
	measure(t)
	auto, _ := p99(published(100, 0.9), 3, fixed(Ours(balance.Auto)))
	turns, _ := p99(published(100, 0.9), 3, fixed(RoundRobin))
	exact, _ := p99(published(100, 0.9), 3, Oracle)
	t.Logf("p99 at load 0.9: auto %.0f ms, round robin %.0f ms, oracle %.0f ms", auto, turns, exact)
	if auto > 0.1*turns || auto > 1.1*exact {
		t.Errorf("p99 of auto is %.2f of round robin's and %.2f of the oracle's, want at most 0.10 and 1.10", auto/turns, auto/exact)
	}
	for _, load := range []float64{1.27, 1.74} {
		if _, timeouts := p99(published(100, load), 3, fixed(Ours(balance.Auto))); timeouts > 0 {
			t.Errorf("%d timeouts at load %.2f, want 0", timeouts, load)
		}
	}
}

func TestPublishedSmallFleet(t *testing.T) {
	measure(t)
	auto, _ := p99(published(20, 0.9), 3, fixed(Ours(balance.Auto)))
	passive, _ := p99(published(20, 0.9), 3, fixed(Finagle))
	exact, _ := p99(published(20, 0.9), 3, Oracle)
	t.Logf("p99 at load 0.9: auto %.0f ms, finagle %.0f ms, oracle %.0f ms", auto, passive, exact)
	if auto > 1.05*passive || auto > 1.1*exact {
		t.Errorf("p99 of auto is %.2f of peak EWMA's and %.2f of the oracle's, want at most 1.05 and 1.10", auto/passive, auto/exact)
	}
}

// small is a fleet for every run of the tests. Its bounds are looser than those of the published figures.
func small(load float64) Config {
	return Config{Clients: 40, Servers: 40, Load: load, Requests: 6000, WarmUp: 4 * time.Second}
}

func TestAutoNearTheOracle(t *testing.T) {
	fleet := small(0.9)
	fleet.Requests, fleet.WarmUp = 3000, 3*time.Second
	auto, timeouts := p99(fleet, 1, fixed(Ours(balance.Auto)))
	exact, _ := p99(fleet, 1, Oracle)
	turns, _ := p99(fleet, 1, fixed(RoundRobin))
	t.Logf("p99 at load 0.9: auto %.0f ms, oracle %.0f ms, round robin %.0f ms", auto, exact, turns)
	if timeouts > 0 || auto > 1.25*exact || auto > 0.25*turns {
		t.Errorf("p99 of auto is %.2f of the oracle's and %.2f of round robin's, %d timeouts, want at most 1.25, 0.25 and none",
			auto/exact, auto/turns, timeouts)
	}
}

// At this load, clients call each server too seldom to know it by their own requests.
func TestProbesBeatOwnRequestsUnderLoad(t *testing.T) {
	suite.Long(t)
	auto, timeouts := p99(small(1.74), 1, fixed(Ours(balance.Auto)))
	passive, _ := p99(small(1.74), 1, fixed(Ours(balance.PeakEWMA)))
	t.Logf("p99 at load 1.74: auto %.0f ms, peak EWMA %.0f ms", auto, passive)
	if timeouts > 0 || auto > 0.9*passive {
		t.Errorf("p99 of auto is %.2f of peak EWMA's, %d timeouts, want at most 0.9 and none", auto/passive, timeouts)
	}
}

// Clients that call every server often need no probes.
func TestAutoStopsProbingFreshServers(t *testing.T) {
	suite.Long(t)
	fleet := Config{Clients: 2, Servers: 5, Load: 0.9, Cores: 8, Requests: 5000, Seed: 1, WarmUp: 15 * time.Second}
	auto, prequal := Run(fleet, Ours(balance.Auto)), Run(fleet, Ours(balance.Prequal))
	if prequal.Probes < 5000 || auto.Probes > prequal.Probes/5 {
		t.Errorf("auto sent %d probes, Prequal %d: want at most a fifth", auto.Probes, prequal.Probes)
	}
}

func TestLostProbes(t *testing.T) {
	suite.Long(t)
	fleet := small(1.27)
	whole, _ := p99(fleet, 1, fixed(Ours(balance.Auto)))
	fleet.ProbeLoss = 0.5
	half, timeouts := p99(fleet, 1, fixed(Ours(balance.Auto)))
	fleet.ProbeLoss = 1
	none, _ := p99(fleet, 1, fixed(Ours(balance.Auto)))
	passive, _ := p99(fleet, 1, fixed(Ours(balance.PeakEWMA)))
	t.Logf("p99 with all probes %.0f ms, half of them %.0f ms, none %.0f ms; peak EWMA %.0f ms", whole, half, none, passive)
	if timeouts > 0 || half > 1.3*whole {
		t.Errorf("p99 with half of the probes %.0f ms, %d timeouts, want at most 1.3 times %.0f ms", half, timeouts, whole)
	}
	if none > 1.3*passive {
		t.Errorf("p99 without any probes %.0f ms, want about peak EWMA's %.0f ms", none, passive)
	}
}

// One of 20 servers stops, without a reset. After 2 s at most 0.5 % of the new requests go there.
func TestFrozenServer(t *testing.T) {
	for _, p := range []balance.Policy{balance.Auto, balance.PeakEWMA, balance.LeastRequest} {
		r := Run(Config{
			Clients: 2, Servers: 20, Load: 0.7, Cores: 2, Requests: 3000, Seed: 1, WarmUp: 2 * time.Second,
			Faults: Faults{Frozen: 1, FrozenAt: 3 * time.Second, Steady: true},
		}, Ours(p))
		late := 0
		for _, n := range r.Late {
			late += n
		}
		if share := float64(r.Late[0]) / float64(late); share > 0.005 || late < 1000 {
			t.Errorf("%v: the frozen server got %d of %d requests, want at most 0.5 %%", p, r.Late[0], late)
		}
	}
}

// Two of 20 servers fail at once. At least 85 % of the failures that a round robin would have are avoided.
func TestSinkhole(t *testing.T) {
	fleet := Config{Clients: 5, Servers: 20, Load: 0.7, Cores: 2, Requests: 3000, Seed: 1, WarmUp: 2 * time.Second, Faults: Faults{Failing: 2, Steady: true}}
	turns := Run(fleet, RoundRobin).Failures
	for _, p := range []balance.Policy{balance.Auto, balance.Prequal, balance.PeakEWMA, balance.LeastRequest} {
		if failures := Run(fleet, Ours(p)).Failures; float64(failures) > 0.15*float64(turns) {
			t.Errorf("%v: %d of 3000 requests failed, a round robin has %d: want at most 15 %% of them", p, failures, turns)
		}
	}
	// The penalty makes the difference: the peak EWMA of finagle, which has none, attracts the traffic.
	if failures := Run(fleet, Finagle).Failures; failures < turns {
		t.Errorf("finagle: %d failures, want more than the %d of a round robin: the test shows nothing", failures, turns)
	}
}

// A tenth of the servers is missing each second, always another one. What is known about the others, and about those that come back, stays.
func TestChurnKeepsWhatIsKnown(t *testing.T) {
	suite.Long(t)
	for _, p := range []balance.Policy{balance.Auto, balance.PeakEWMA} {
		fleet := Config{
			Clients: 10, Servers: 20, Load: 0.5, Cores: 2, Requests: 5000, Seed: 1, WarmUp: 5 * time.Second,
			Faults: Faults{Slow: 2, Steady: true},
		}
		still := slowShare(fleet, Ours(p))
		fleet.Faults.Churn = true
		churning, forgetting := slowShare(fleet, Ours(p)), slowShare(fleet, forgetful(Ours(p)))
		t.Logf("%v: slow servers get %.4f of the requests, with churn %.4f, without memory %.4f", p, still, churning, forgetting)
		if churning > still+0.005 {
			t.Errorf("%v: with churn, slow servers get %.4f of the requests, want about the %.4f without", p, churning, still)
		}
		if forgetting < 2*churning {
			t.Errorf("%v: without memory, slow servers get %.4f of the requests: the test shows nothing", p, forgetting)
		}
	}
}

// slowShare returns the share of the requests that slow servers get.
func slowShare(config Config, p Policy) float64 {
	r := Run(config, p)
	slow := 0
	for i := range config.Faults.Slow {
		slow += r.PerServer[i]
	}
	return float64(slow) / float64(r.Requests())
}

// forgetful returns a policy that knows nothing of its servers whenever they change.
func forgetful(p Policy) Policy {
	return func(w *World) Client { return &amnesiac{p(w).(*ours)} }
}

type amnesiac struct{ *ours }

func (c *amnesiac) Resolve(servers []int) {
	for i := range c.all {
		c.all[i] = balance.NewEndpoint(c.world.now)
	}
	c.ours.Resolve(servers)
}

// Fourteen fast servers and two that are 16 times slower.
func TestSlowServers(t *testing.T) {
	fleet := Config{Clients: 4, Servers: 16, Load: 0.3, Cores: 2, Requests: 3000, Seed: 1, WarmUp: 5 * time.Second, Faults: Faults{Slow: 2, Steady: true}}
	auto, turns := Run(fleet, Ours(balance.Auto)), Run(fleet, RoundRobin)
	for _, q := range []float64{0.99, 0.995} {
		if turns.Quantile(q) < 6*auto.Quantile(q) {
			t.Errorf("p%v: %v, a round robin has %v: want at least 6 times better", 100*q, auto.Quantile(q), turns.Quantile(q))
		}
	}
}

func TestRunsAreReproducible(t *testing.T) {
	fleet := Config{Clients: 10, Servers: 10, Load: 0.9, Requests: 2000, Seed: 7}
	one, two := Run(fleet, Ours(balance.Auto)), Run(fleet, Ours(balance.Auto))
	if one.Quantile(0.5) != two.Quantile(0.5) || one.Probes != two.Probes {
		t.Errorf("two runs of one seed differ: p50 %v and %v", one.Quantile(0.5), two.Quantile(0.5))
	}
	fleet.Seed = 8
	if other := Run(fleet, Ours(balance.Auto)); other.Quantile(0.5) == one.Quantile(0.5) {
		t.Error("runs of two seeds are the same")
	}
}

// A single server with a single core and a slow client: what a request takes is its work and the network.
func TestServersShareTheirCPU(t *testing.T) {
	w := newWorld(Config{Clients: 1, Servers: 1, Load: 1, Cores: 1, Faults: Faults{Steady: true}})
	w.change(0, func(s *server) { s.cores = 1 })
	var requests [2]*request
	for i := range requests {
		requests[i] = &request{work: 100 * time.Millisecond, place: -1}
		w.change(0, func(s *server) { s.start(requests[i]) })
	}
	if at, ok := w.servers[0].completion(); !ok || at.Round(time.Millisecond) != 200*time.Millisecond {
		t.Errorf("two requests of 100 ms on one core: the first is done at %v, want 200ms", at)
	}
	w.change(0, func(s *server) { s.cores = 4 })
	if at, _ := w.servers[0].completion(); at.Round(time.Millisecond) != 100*time.Millisecond {
		t.Errorf("two requests of 100 ms on four cores: the first is done at %v, want 100ms", at)
	}
	w.change(0, func(s *server) { s.frozen = true })
	if at, ok := w.servers[0].completion(); ok {
		t.Errorf("a frozen server finishes a request at %v", at)
	}
}

func TestEventsComeInOrder(t *testing.T) {
	var q events
	for _, at := range []time.Duration{5, 1, 4, 1, 3, 9, 2, 6} {
		q.add(event{at: at})
	}
	last := event{}
	for range 8 {
		e := q.next()
		if e.before(&last) {
			t.Fatalf("event at %d, number %d, after the one at %d, number %d", e.at, e.order, last.at, last.order)
		}
		last = e
	}
}
