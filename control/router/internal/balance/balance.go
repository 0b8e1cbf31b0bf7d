// Package balance picks the endpoint of a request.
//
//	set := balance.NewSet(endpoints, nil)
//	b := balance.New(balance.Config{Policy: balance.Auto})
//	…
//	index, why := b.Pick(now, set, balance.Key{}, nil)
//	ticket := set.At(index).Begin(now, false)
//	…
//	ticket.Done(now, balance.Success)
//
// An [Endpoint] holds what the client has learnt about one server. It outlives the Sets and the Balancers that it is used with. A [Set] lists
// the endpoints that may be picked. A [Balancer] picks by a policy.
//
// The package has no goroutine, no clock and no telemetry, so that a simulator can drive it. Every method takes the time, monotonic since an
// arbitrary start.
//
// # Policies
//
//   - RoundRobin: in turn, whatever the weights.
//   - Weighted: in proportion to the weights, evenly spread.
//   - LeastRequest: the endpoint with the fewest requests in flight of two drawn at random.
//   - PeakEWMA: the cheapest of two drawn at random, by latency and requests in flight as this client has seen them. Latency is finagle's peak
//     EWMA. The age of the oldest unanswered request replaces it if it is larger.
//   - Prequal: the best of a pool of probed endpoints (Wydick et al., Load is not what you should balance: introducing Prequal, NSDI 2024).
//   - ConsistentHash: by the key of the request, with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2018).
//   - Auto: PeakEWMA for endpoints that this client calls often, and probes for the others.
package balance

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// A Policy is a way to choose an endpoint.
type Policy uint8

// The policies.
const (
	Auto Policy = iota
	RoundRobin
	Weighted
	LeastRequest
	PeakEWMA
	Prequal
	ConsistentHash
)

var policies = [...]string{"auto", "round_robin", "weighted", "least_request", "peak_ewma", "prequal", "consistent_hash"}

// String returns the name of the policy.
func (p Policy) String() string {
	if int(p) < len(policies) {
		return policies[p]
	}
	return "policy " + strconv.Itoa(int(p))
}

// A Reason says why an endpoint was picked.
type Reason uint8

// The reasons.
const (
	// None is the reason if there is no endpoint to pick.
	None Reason = iota
	// Turn is the next endpoint of a round robin.
	Turn
	// Weight is an endpoint drawn in proportion to the weights.
	Weight
	// LeastCost is the cheapest of the endpoints that were drawn.
	LeastCost
	// Cold is the probed endpoint with the lowest latency of those that are not hot.
	Cold
	// Hot is the probed endpoint with the fewest requests in flight. All are hot.
	Hot
	// Fallback is the cheapest of the endpoints that were drawn, for want of probes or of a key.
	Fallback
	// Forced is an endpoint that has not been used for long, to learn whether it has changed.
	Forced
	// Hash is the endpoint of the key.
	Hash
	// Bounded is the next endpoint of the key: those before have more than their share of the load.
	Bounded
	// Only is the one endpoint that is left.
	Only
)

var reasons = [...]string{
	"none", "turn", "weight", "least_cost", "cold", "hot", "fallback", "forced", "hash", "bounded", "only",
}

// String returns the name of the reason.
func (r Reason) String() string {
	if int(r) < len(reasons) {
		return reasons[r]
	}
	return "reason " + strconv.Itoa(int(r))
}

// A Key makes requests go to one endpoint. The zero Key is none.
type Key struct {
	Hash uint64
	Set  bool
}

// Tried are the endpoints that earlier attempts of a request have used.
type Tried []*Endpoint

// Has reports whether the endpoint has been tried.
func (t Tried) Has(e *Endpoint) bool { return len(t) > 0 && slices.Contains(t, e) }

// Config describes a policy. Zero fields have their defaults.
type Config struct {
	Policy Policy
	// Choices is how many endpoints LeastRequest and PeakEWMA draw for one request. Default: 2.
	Choices int
	// Decay is the time constant of latency. Default: 10 s.
	Decay time.Duration
	// ForceAfter is how long an endpoint is left alone at least, before one request is sent there to learn whether it has recovered. If there
	// are few requests, it is left alone for longer, so that at most one in a hundred of its turns is such a request. Default: 1 s.
	ForceAfter time.Duration
	// LoadBound is the share of the mean load that ConsistentHash puts on one endpoint. Default: 1.25.
	LoadBound float64
	// Probes describes the probes of Prequal and Auto.
	Probes Probes
	// Random returns random numbers. Default: math/rand/v2.Uint64.
	Random func() uint64
}

// A Balancer is the state of a policy for one service. It is safe for concurrent use.
type Balancer struct {
	config Config
	turn   atomic.Uint64
	pool   pool
}

// New returns a Balancer. It takes a Config as it is: its fields are not checked beyond their defaults.
func New(config Config) *Balancer {
	if config.Random == nil {
		config.Random = rand.Uint64
	}
	config.Choices = orDefault(config.Choices, 2)
	config.Decay = orDefault(config.Decay, DefaultDecay)
	config.ForceAfter = orDefault(config.ForceAfter, time.Second)
	config.LoadBound = orDefault(config.LoadBound, 1.25)
	config.Probes = config.Probes.withDefaults()
	b := &Balancer{config: config}
	b.turn.Store(config.Random()) // clients do not all start with the same endpoint
	return b
}

func orDefault[T int | float64 | time.Duration](value, or T) T {
	if value > 0 {
		return value
	}
	return or
}

// Pick returns the index of the endpoint for a request, and why it was chosen. It avoids those that were tried. If all were tried, or the set
// is empty, the index is -1.
func (b *Balancer) Pick(now time.Duration, s *Set, k Key, tried Tried) (index int, why Reason) {
	if s.Len() == 0 {
		return -1, None
	}
	switch b.config.Policy {
	case RoundRobin:
		return b.pickTurn(s, tried)
	case Weighted:
		return b.pickWeighted(s, tried)
	case LeastRequest:
		return b.pickLeast(now, s, tried)
	case PeakEWMA:
		return b.pickCheapest(now, s, tried)
	case Prequal:
		return b.pickProbed(now, s, tried)
	case ConsistentHash:
		return b.pickHashed(now, s, k, tried)
	}
	return b.pickAuto(now, s, tried)
}

// Cost returns what the next request to an endpoint of the set would cost, in nanoseconds, as PeakEWMA compares it.
func (b *Balancer) Cost(now time.Duration, s *Set, index int) float64 {
	return s.endpoints[index].cost(now, s.weight(index), s.typical(now, b.config.Decay))
}

// pickTurn returns the next endpoint in turn.
func (b *Balancer) pickTurn(s *Set, tried Tried) (int, Reason) {
	n := uint64(s.Len())
	for range n {
		i := int(b.turn.Add(1) % n)
		if s.pickable(i) && !tried.Has(s.endpoints[i]) {
			return i, Turn
		}
	}
	return -1, None
}

// golden is 2^64 divided by the golden ratio. Its multiples spread evenly, however many there are.
const golden = 0x9e3779b97f4a7c15

// pickWeighted returns the next endpoint by weight. The sequence of draws is even rather than random.
func (b *Balancer) pickWeighted(s *Set, tried Tried) (int, Reason) {
	for range 8 {
		i := s.draw(b.turn.Add(1) * golden)
		if !tried.Has(s.endpoints[i]) {
			return i, Weight
		}
	}
	if i := b.scan(s, tried, -1); i >= 0 {
		return i, Weight
	}
	return -1, None
}
