package balance

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// FuzzBalancer drives every policy through random requests, reports and jumps of the clock. It must neither panic nor pick what it must not,
// and leave nothing in flight.
func FuzzBalancer(f *testing.F) {
	for p := range uint8(ConsistentHash) + 1 {
		for _, n := range []uint8{1, 2, 3, 17, 200} {
			f.Add(p, n, uint64(p)*uint64(n))
		}
	}
	f.Fuzz(func(t *testing.T, policy, n uint8, seed uint64) {
		run := newRun(t, Policy(policy%uint8(ConsistentHash+1)), int(n)%200+1, rand.New(rand.NewPCG(seed, 1)))
		for range 500 {
			run.step()
		}
		run.finish()
	})
}

// run is a random sequence.
type run struct {
	t        *testing.T
	random   *rand.Rand
	balancer *Balancer
	all      []*Endpoint
	weights  []float64
	set      *Set
	now      time.Duration
	open     []Ticket
}

func newRun(t *testing.T, p Policy, n int, random *rand.Rand) *run {
	r := &run{t: t, random: random, all: endpoints(n), weights: make([]float64, n)}
	r.balancer = New(Config{Policy: p, Choices: random.IntN(5), Random: random.Uint64})
	extreme := []float64{0, -1, 1, 2, 1e-300, 1e300, math.Inf(1), math.NaN()}
	for i := range r.weights {
		r.weights[i] = extreme[random.IntN(len(extreme))]
	}
	r.set = NewSet(r.all, r.weights)
	return r
}

func (r *run) step() {
	switch r.random.IntN(20) {
	case 0:
		r.now += time.Duration(r.random.Int64N(int64(20 * time.Minute)))
	case 1:
		from := r.random.IntN(len(r.all))
		r.set = NewSet(r.all[from:], r.weights[from:])
	case 2:
		r.all[r.random.IntN(len(r.all))].ProbeRefused(r.now)
	case 3, 4, 5: // the clock stands still
	default:
		r.now += time.Duration(r.random.Int64N(int64(20 * time.Millisecond)))
	}
	r.request()
	if len(r.open) > 0 && r.random.IntN(2) == 0 {
		ticket := r.open[r.random.IntN(len(r.open))]
		ticket.Answered(r.now)
		ticket.Done(r.now, Outcome(r.random.IntN(6)))
	}
}

func (r *run) request() {
	var tried Tried
	for range r.random.IntN(4) {
		tried = append(tried, r.set.At(r.random.IntN(r.set.Len())))
	}
	i, why := r.balancer.Pick(r.now, r.set, Key{r.random.Uint64(), r.random.IntN(2) == 0}, tried)
	if (i < 0) != (why == None) {
		r.t.Fatalf("Pick = %d, %v", i, why)
	}
	if i < 0 {
		r.mustBeExhausted(tried)
		return
	}
	if !r.set.pickable(i) || tried.Has(r.set.At(i)) {
		r.t.Fatalf("endpoint %d was picked: weight %v, tried %t", i, r.set.weights[i], tried.Has(r.set.At(i)))
	}
	if cost := r.balancer.Cost(r.now, r.set, i); math.IsNaN(cost) || math.IsInf(cost, 0) || cost < 0 {
		r.t.Fatalf("endpoint %d costs %v", i, cost)
	}
	r.open = append(r.open, r.set.At(i).Begin(r.now, r.random.IntN(9) == 0))
	for {
		p, ok := r.balancer.Probe(r.now, r.set, i)
		if !ok {
			return
		}
		if r.random.IntN(4) > 0 {
			r.set.At(p).Report(r.now, int(r.random.Uint64()), time.Duration(r.random.Uint64()), true)
		}
	}
}

// mustBeExhausted fails if the set has an endpoint that could have been picked.
func (r *run) mustBeExhausted(tried Tried) {
	for i := range r.set.Len() {
		if r.set.pickable(i) && !tried.Has(r.set.At(i)) {
			r.t.Fatalf("nothing was picked, although endpoint %d was not tried", i)
		}
	}
}

func (r *run) finish() {
	for _, ticket := range r.open {
		ticket.Done(r.now, Neutral)
	}
	for i, e := range r.all {
		if e.InFlight() != 0 || e.Oldest(r.now) != 0 {
			r.t.Errorf("endpoint %d: %d in flight, oldest %v, want nothing", i, e.InFlight(), e.Oldest(r.now))
		}
	}
}
