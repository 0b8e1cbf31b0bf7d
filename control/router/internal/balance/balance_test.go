package balance

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// fleet returns a Balancer, and a Set of endpoints of equal weight. Its random numbers are the same in every run.
func fleet(p Policy, n int) (*Balancer, *Set) {
	return New(Config{Policy: p, Random: seeded()}), NewSet(endpoints(n), nil)
}

func seeded() func() uint64 {
	var state uint64
	return func() uint64 { state += golden; return mix(state) }
}

func endpoints(n int) []*Endpoint {
	all := make([]*Endpoint, n)
	for i := range all {
		all[i] = NewEndpoint(0)
		all[i].Identify(uint64(i) + 1)
	}
	return all
}

// serve sends requests that take the time that latency returns for their endpoint, one at a time. It returns how many each one got.
func serve(b *Balancer, s *Set, from time.Duration, requests int, latency func(i int) time.Duration, outcome func(i int) Outcome) []int {
	counts := make([]int, s.Len())
	now := from
	for range requests {
		now += 5 * time.Millisecond
		i, _ := b.Pick(now, s, Key{}, nil)
		counts[i]++
		s.At(i).Begin(now, false).Done(now+latency(i), outcome(i))
	}
	return counts
}

// answerProbes answers the probes that a pick has caused.
func answerProbes(b *Balancer, s *Set, now time.Duration, picked int) (probes int) {
	for {
		i, ok := b.Probe(now, s, picked)
		if !ok {
			return probes
		}
		probes++
		s.At(i).Report(now, i%7, time.Duration(i+1)*time.Millisecond, true)
	}
}

func always[T any](v T) func(int) T { return func(int) T { return v } }

func TestRoundRobinTakesTurns(t *testing.T) {
	b, s := fleet(RoundRobin, 7)
	for i, n := range serve(b, s, 0, 700, always(time.Millisecond), always(Success)) {
		if n != 100 {
			t.Errorf("endpoint %d got %d requests, want 100", i, n)
		}
	}
}

func TestWeightedFollowsWeights(t *testing.T) {
	b, _ := fleet(Weighted, 1)
	s := NewSet(endpoints(5), []float64{1, 2, 3, 0, 4})
	counts := serve(b, s, 0, 10_000, always(time.Millisecond), always(Success))
	for i, want := range []int{1000, 2000, 3000, 0, 4000} {
		if math.Abs(float64(counts[i]-want)) > 20 { // far less than at random: σ is about 40
			t.Errorf("endpoint %d got %d requests, want %d", i, counts[i], want)
		}
	}
}

func TestImpossibleWeights(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, test := range []struct {
		name          string
		weights, want []float64
	}{
		{"none", nil, []float64{1, 1, 1}},
		{"all zero", []float64{0, 0, 0}, []float64{1, 1, 1}},
		{"negative", []float64{-1, 1, 1}, []float64{0, 1.5, 1.5}},
		{"not a number", []float64{nan, 1, 1}, []float64{0, 1.5, 1.5}},
		{"infinite", []float64{inf, inf, 0}, []float64{1.5, 1.5, 0}},
		{"huge", []float64{math.MaxFloat64, math.MaxFloat64, math.MaxFloat64}, []float64{1, 1, 1}},
		{"tiny", []float64{5e-324, 5e-324, 5e-324}, []float64{1, 1, 1}},
		{"too few", []float64{1}, []float64{3, 0, 0}},
		{"too many", []float64{1, 1, 1, 9}, []float64{1, 1, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := NewSet(endpoints(3), test.weights)
			counts := make([]float64, 3)
			for range 30_000 {
				counts[s.draw(rand.Uint64())] += 1. / 10_000
			}
			for i, want := range test.want {
				if math.Abs(counts[i]-want) > 0.1 || want == 0 && counts[i] > 0 {
					t.Errorf("shares %.2f, want %.2f", counts, test.want)
					break
				}
			}
		})
	}
}

func TestLeastRequestSeesRequestsInFlight(t *testing.T) {
	b, s := fleet(LeastRequest, 4)
	for i := range 3 {
		s.At(i).Begin(0, true)
	}
	counts := serve(b, s, 0, 1000, always(time.Millisecond), always(Success))
	if counts[3] < 450 { // it is drawn by half of the requests, and always wins
		t.Errorf("the idle endpoint of four got %d of 1000 requests, want about 500", counts[3])
	}
}

func TestPeakEWMAAvoidsSlowEndpoints(t *testing.T) {
	b, s := fleet(PeakEWMA, 16)
	counts := serve(b, s, 0, 4000, func(i int) time.Duration {
		if i < 2 {
			return 160 * time.Millisecond
		}
		return 10 * time.Millisecond
	}, always(Success))
	if slow := counts[0] + counts[1]; slow == 0 || slow > 40 {
		t.Errorf("two slow endpoints of 16 got %d of 4000 requests, want 1 to 40", slow)
	}
}

func TestFastFailuresAttractNoTraffic(t *testing.T) {
	for _, p := range []Policy{Auto, LeastRequest, PeakEWMA, Prequal} {
		for _, o := range []Outcome{Fault, Overload} {
			t.Run(p.String()+" "+o.String(), func(t *testing.T) {
				b, s := fleet(p, 20)
				counts := serve(b, s, 0, 10_000, func(i int) time.Duration {
					if i < 2 {
						return 50 * time.Microsecond
					}
					return 20 * time.Millisecond
				}, func(i int) Outcome {
					if i < 2 {
						return o
					}
					return Success
				})
				if failed := counts[0] + counts[1]; failed > 150 { // a round robin: 1000
					t.Errorf("%d of 10,000 requests failed, want at most 150", failed)
				}
			})
		}
	}
}

func TestSilentServerGetsNoTraffic(t *testing.T) {
	for _, p := range []Policy{Auto, LeastRequest, PeakEWMA, Prequal} {
		t.Run(p.String(), func(t *testing.T) {
			b, s := fleet(p, 20)
			now, sent, late := time.Duration(0), 0, 0
			for now < 30*time.Second {
				now += 2 * time.Millisecond
				i, _ := b.Pick(now, s, Key{}, nil)
				ticket := s.At(i).Begin(now, false)
				if i != 0 {
					ticket.Done(now+20*time.Millisecond, Success)
				}
				if now > 2*time.Second {
					sent++
					if i == 0 {
						late++
					}
				}
			}
			if float64(late) > 0.005*float64(sent) {
				t.Errorf("after 2 s the silent server got %d of %d requests, want at most 0.5 %%", late, sent)
			}
		})
	}
}

// A new endpoint gets about its share while the others are known: it neither starves (linkerd/linkerd2-proxy#167) nor attracts a flood
// (grpc/grpc-java#4462).
func TestNewEndpointGetsItsShare(t *testing.T) {
	for _, p := range []Policy{Auto, LeastRequest, PeakEWMA} {
		t.Run(p.String(), func(t *testing.T) {
			b, s := fleet(p, 10)
			serve(b, s, 0, 2000, always(20*time.Millisecond), always(Success))
			grown := NewSet(append(s.endpoints, NewEndpoint(10*time.Second)), nil)
			counts := make([]int, 11)
			var open [20]Ticket // as many requests are always in flight
			now := 10 * time.Second
			for n := range 200 {
				now += time.Millisecond
				open[n%len(open)].Done(now, Success)
				i, _ := b.Pick(now, grown, Key{}, nil)
				open[n%len(open)] = grown.At(i).Begin(now, false)
				counts[i]++
			}
			if counts[10] < 9 || counts[10] > 36 {
				t.Errorf("the new endpoint got %d of 200 requests, want about 18: %v", counts[10], counts)
			}
		})
	}
}

func TestCostOfTheUnknown(t *testing.T) {
	b, s := fleet(PeakEWMA, 10)
	serve(b, s, 0, 2000, always(20*time.Millisecond), always(Success))
	grown := NewSet(append(s.endpoints, NewEndpoint(10*time.Second)), nil)
	if cost := b.Cost(10*time.Second, grown, 10); math.Abs(cost-20e6) > 2e6 {
		t.Errorf("a new endpoint costs %v, want the usual 20 ms", time.Duration(cost))
	}
	grown.At(10).Begin(10*time.Second, false)
	if cost := b.Cost(13*time.Second, grown, 10); math.Abs(cost-2*3e9) > 1e6 {
		t.Errorf("an endpoint with one request of 3 s costs %v, want two of 3 s", time.Duration(cost))
	}
}

// Two busy endpoints are drawn together by one request of 190. It draws again.
func TestExhaustedPairIsDrawnAgain(t *testing.T) {
	b, s := fleet(PeakEWMA, 20)
	serve(b, s, 0, 2000, always(20*time.Millisecond), always(Success))
	for range 100 {
		s.At(0).Begin(10*time.Second, true)
		s.At(1).Begin(10*time.Second, true)
	}
	if n := serve(b, s, 10*time.Second, 20_000, always(20*time.Millisecond), always(Success)); n[0]+n[1] > 30 {
		t.Errorf("the busy endpoints got %d and %d of 20,000 requests, want at most 30 in all", n[0], n[1])
	}
}

func TestSlowEndpointIsTriedAgain(t *testing.T) {
	b, s := fleet(PeakEWMA, 10)
	slow := func(i int) time.Duration {
		if i == 0 {
			return time.Second
		}
		return 10 * time.Millisecond
	}
	before := serve(b, s, 0, 1000, slow, always(Success))
	if before[0] > 5 {
		t.Fatalf("the slow endpoint got %d of 1000 requests, want at most 5", before[0])
	}
	random := seeded()
	recovered := func(int) time.Duration {
		return 5*time.Millisecond + time.Duration(random()%uint64(10*time.Millisecond))
	}
	after := serve(b, s, 5*time.Second, 24_000, recovered, always(Success))
	if after[0] < 500 {
		t.Errorf("two minutes after it had recovered, the endpoint got %d of 24,000 requests, want at least 500", after[0])
	}
}

// One stall of 50 ms, such as that of a garbage collector, does not starve an endpoint that otherwise answers in 1 ms.
func TestStalledEndpointComesBack(t *testing.T) {
	b, s := fleet(PeakEWMA, 3)
	random := seeded()
	usual := func(int) time.Duration { return time.Millisecond + time.Duration(random()%uint64(time.Millisecond)) }
	serve(b, s, 0, 1000, usual, always(Success))
	s.At(0).Begin(5*time.Second, false).Done(5050*time.Millisecond, Success)
	if n := serve(b, s, 5*time.Second, 2000, usual, always(Success))[0]; n < 4 || n > 8 {
		t.Errorf("in the 10 s after its stall the endpoint got %d of 2000 requests, want one in 100 of its turns: about 6", n)
	}
	serve(b, s, 15*time.Second, 6000, usual, always(Success))
	if n := serve(b, s, 45*time.Second, 2000, usual, always(Success))[0]; n < 150 {
		t.Errorf("40 s after its stall the endpoint got %d of 2000 requests, want at least 150", n)
	}
}

// Forced picks are rare where requests are rare, too.
func TestFewRequestsForceFewPicks(t *testing.T) {
	b, s := fleet(PeakEWMA, 16)
	forced := 0
	now := time.Duration(0)
	for range 5000 { // ten requests a second
		now += 100 * time.Millisecond
		i, why := b.Pick(now, s, Key{}, nil)
		if why == Forced {
			forced++
		}
		latency := 10 * time.Millisecond
		if i < 2 {
			latency = time.Second
		}
		s.At(i).Begin(now, false).Done(now+latency, Success)
	}
	if forced > 10 {
		t.Errorf("%d of 5000 picks were forced, want at most 10", forced)
	}
}

func TestTriedEndpointsAreAvoided(t *testing.T) {
	for p := Auto; p <= ConsistentHash; p++ {
		t.Run(p.String(), func(t *testing.T) {
			b, s := fleet(p, 3)
			var tried Tried
			for range s.Len() {
				i, why := b.Pick(0, s, Key{Hash: 1, Set: true}, tried)
				if i < 0 || why == None {
					t.Fatalf("no pick, although only %d of 3 were tried", len(tried))
				}
				if tried.Has(s.At(i)) {
					t.Fatalf("endpoint %d was picked again", i)
				}
				tried = append(tried, s.At(i))
			}
			if i, why := b.Pick(0, s, Key{}, tried); i != -1 || why != None {
				t.Errorf("Pick of an exhausted set = %d, %v, want -1, none", i, why)
			}
			if i, why := b.Pick(0, NewSet(nil, nil), Key{}, nil); i != -1 || why != None {
				t.Errorf("Pick of an empty set = %d, %v, want -1, none", i, why)
			}
		})
	}
}

func TestWeightZeroIsNeverPicked(t *testing.T) {
	for p := Auto; p <= ConsistentHash; p++ {
		t.Run(p.String(), func(t *testing.T) {
			b, _ := fleet(p, 1)
			s := NewSet(endpoints(4), []float64{0, 1, 0, 5})
			for n := range 1000 {
				now := time.Duration(n) * time.Millisecond
				i, _ := b.Pick(now, s, Key{Hash: uint64(n), Set: n%2 == 0}, nil)
				if i != 1 && i != 3 {
					t.Fatalf("endpoint %d with weight 0 was picked", i)
				}
				s.At(i).Begin(now, false)
				answerProbes(b, s, now, i)
			}
			if i, _ := b.Pick(0, s, Key{Hash: 1, Set: true}, Tried{s.At(1), s.At(3)}); i != -1 {
				t.Errorf("endpoint %d with weight 0 was picked for want of another", i)
			}
		})
	}
}

func TestPickAllocs(t *testing.T) {
	for p := Auto; p <= ConsistentHash; p++ {
		b, s := fleet(p, 100)
		var now time.Duration
		tried := make(Tried, 0, 3)
		request := func() {
			now += time.Millisecond
			i, _ := b.Pick(now, s, Key{Hash: uint64(now), Set: true}, tried)
			s.At(i).Begin(now, false).Done(now+time.Millisecond, Success)
			answerProbes(b, s, now, i)
		}
		for range 5000 { // until every endpoint has a slot
			request()
		}
		if n := testing.AllocsPerRun(2000, request); n != 0 {
			t.Errorf("%v: Pick and Done allocate %v times, want 0", p, n)
		}
	}
}
