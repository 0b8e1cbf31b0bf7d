package balance

import (
	"math"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// refresh is how often a Set finds out anew what is typical of its endpoints.
	refresh = 250 * time.Millisecond
	// sampled bounds the endpoints that it looks at.
	sampled = 128
)

// A Set is an immutable list of endpoints that may be picked, with their weights. It is safe for concurrent use.
type Set struct {
	endpoints []*Endpoint
	weights   []float64 // relative to the mean, which is 1
	equal     bool
	columns   []column // alias table; nil if all weights are equal

	indexOnce sync.Once
	indexes   map[*Endpoint]int

	ringOnce sync.Once
	ring     []point

	nextCount, total atomic.Int64 // requests in flight at all endpoints, for the bound of consistent hashing

	nextRefresh atomic.Int64
	usual       atomic.Pointer[typical]
	scratch     sync.Mutex
}

// typical describes the endpoints of a Set.
type typical struct {
	latency float64       // median, nanoseconds; 0: nothing is known
	cost    float64       // median
	gap     time.Duration // mean time between two requests to one endpoint
	probed  float64       // share of the endpoints that need probes
}

// A column of an alias table: it is its own index up to the threshold, and the alias above.
type column struct {
	threshold uint32
	alias     int32
}

// NewSet returns the set of the endpoints with the weights, one for each endpoint. No weights means equal ones. A weight that is no positive
// number counts as zero: the endpoint is not picked. If no weight is positive, all are equal.
func NewSet(endpoints []*Endpoint, weights []float64) *Set {
	s := &Set{endpoints: slices.Clone(endpoints)}
	s.weights, s.equal = normalize(weights, len(endpoints))
	if !s.equal {
		s.columns = aliases(s.weights)
	}
	s.nextRefresh.Store(math.MinInt64)
	s.nextCount.Store(math.MinInt64)
	s.usual.Store(&typical{})
	return s
}

// Len returns the number of endpoints.
func (s *Set) Len() int { return len(s.endpoints) }

// At returns an endpoint.
func (s *Set) At(i int) *Endpoint { return s.endpoints[i] }

// index returns the place of an endpoint in the set.
func (s *Set) index(e *Endpoint) (int, bool) {
	s.indexOnce.Do(func() {
		s.indexes = make(map[*Endpoint]int, len(s.endpoints))
		for i, e := range s.endpoints {
			s.indexes[e] = i
		}
	})
	i, ok := s.indexes[e]
	return i, ok
}

// draw maps a number, random or from a sequence, to an endpoint in proportion to its weight.
func (s *Set) draw(number uint64) int {
	high, low := bits.Mul64(number, uint64(len(s.endpoints)))
	if s.equal {
		return int(high)
	}
	c := s.columns[high]
	if uint32(low>>32) < c.threshold {
		return int(high)
	}
	return int(c.alias)
}

// typical returns what is typical of the endpoints, at most 250 ms old while requests flow.
func (s *Set) typical(now time.Duration, decay time.Duration) typical {
	if int64(now) >= s.nextRefresh.Load() && s.scratch.TryLock() {
		usual := s.survey(now, decay)
		s.usual.Store(&usual)
		s.nextRefresh.Store(int64(now + refresh))
		s.scratch.Unlock()
	}
	return *s.usual.Load()
}

// survey looks at the endpoints, or at an even sample of many.
func (s *Set) survey(now time.Duration, decay time.Duration) (usual typical) {
	var (
		values [sampled]float64
		rate   float64
		probed int
	)
	step := (len(s.endpoints) + sampled - 1) / sampled
	visited := (len(s.endpoints) + step - 1) / step
	known := values[:0]
	for i := 0; i < len(s.endpoints); i += step {
		e := s.endpoints[i]
		e.decay.Store(int64(decay))
		rate += e.Rate(now)
		if e.refreshed(now) {
			probed++
		}
		if latency := e.latencyAbove(now, 0); latency > 0 {
			known = append(known, latency)
		}
	}
	usual.latency = median(known)
	usual.gap = gap(rate, visited)
	usual.probed = float64(probed) / float64(visited)
	costs := values[:0]
	for i := 0; i < len(s.endpoints); i += step {
		costs = append(costs, s.endpoints[i].cost(now, s.weight(i), usual))
	}
	usual.cost = median(costs)
	return usual
}

// weight returns the weight of an endpoint for a division.
func (s *Set) weight(i int) float64 {
	if s.equal {
		return 1
	}
	return max(s.weights[i], 1e-9)
}

// pickable reports whether the endpoint has a weight.
func (s *Set) pickable(i int) bool { return s.equal || s.weights[i] > 0 }

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// gap returns the mean time between two requests to one of several endpoints that get rate requests a second together.
func gap(rate float64, endpoints int) time.Duration {
	if rate <= 0 {
		return time.Hour
	}
	return time.Duration(min(float64(endpoints)/rate, time.Hour.Seconds()) * float64(time.Second))
}

// normalize returns weights with a mean of 1, and whether all are equal.
func normalize(weights []float64, n int) (relative []float64, equal bool) {
	relative = make([]float64, n)
	var largest float64
	for i := range min(n, len(weights)) {
		if weights[i] > 0 { // false for NaN
			relative[i] = min(weights[i], math.MaxFloat64)
		}
		largest = max(largest, relative[i])
	}
	if largest == 0 {
		for i := range relative {
			relative[i] = 1
		}
		return relative, true
	}
	var sum float64
	for i := range relative {
		relative[i] /= largest // the sum cannot overflow
		sum += relative[i]
	}
	equal = true
	for i := range relative {
		equal = equal && relative[i] == relative[0]
		relative[i] *= float64(n) / sum
	}
	return relative, equal
}

// aliases builds the alias table of weights with a mean of 1 (Vose, A linear algorithm for generating random numbers with a given
// distribution, 1991).
func aliases(weights []float64) []column {
	columns := make([]column, len(weights))
	left := slices.Clone(weights)
	var small, large []int
	for i, w := range left {
		if w < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		columns[s] = column{threshold: uint32(left[s] * math.MaxUint32), alias: int32(l)}
		left[l] -= 1 - left[s]
		if left[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range slices.Concat(small, large) { // what rounding has left is full
		columns[i] = column{threshold: math.MaxUint32, alias: int32(i)}
	}
	return columns
}
