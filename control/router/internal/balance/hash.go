package balance

import (
	"cmp"
	"math"
	"slices"
	"time"
)

const (
	// points is how many places an endpoint of mean weight has on the ring. The loads of endpoints then differ by about 10 %.
	points = 100
	// leastPoints is how many it has in a large fleet. The bound of the load then evens out what the ring does not.
	leastPoints = 4
	// mostPoints bounds those of one endpoint, and allPoints about those of all: a request waits while the ring is made.
	mostPoints = 1000
	allPoints  = 20_000

	// counted is the largest Set whose requests in flight are counted for each request. Those of a larger one are up to recount old.
	counted = 256
	recount = 10 * time.Millisecond
)

// A point is a place on the ring.
type point struct {
	hash  uint64
	index int32
}

// pickHashed returns the endpoint of the key: the first on the ring after it that was not tried and has room. A membership change moves only
// the keys of the endpoint that came or went.
func (b *Balancer) pickHashed(now time.Duration, s *Set, k Key, tried Tried) (int, Reason) {
	if !k.Set {
		i, why := b.pickCheapest(now, s, tried)
		if why == LeastCost {
			why = Fallback
		}
		return i, why
	}
	ring := s.places()
	start, _ := slices.BinarySearchFunc(ring, mix(k.Hash), func(p point, hash uint64) int { return cmp.Compare(p.hash, hash) })
	first := -1
	var total float64 // requests in flight; 0: not counted yet
	for n := range len(ring) {
		i := int(ring[(start+n)%len(ring)].index)
		if i == first || tried.Has(s.endpoints[i]) {
			continue
		}
		switch room := s.hasRoom(now, i, b.config.LoadBound, &total); {
		case room && first < 0:
			return i, Hash
		case room:
			return i, Bounded
		case first < 0:
			first = i
		}
	}
	if first < 0 {
		return -1, None
	}
	return first, Hash
}

// hasRoom reports whether one more request keeps the load of an endpoint within its bound.
func (s *Set) hasRoom(now time.Duration, i int, bound float64, total *float64) bool {
	mine := s.endpoints[i].inFlight()
	if mine <= 0 {
		return true
	}
	if *total == 0 {
		*total = float64(s.inFlight(now))
	}
	share := s.weights[i] / float64(len(s.endpoints))
	return float64(mine+1) <= math.Ceil(bound*(*total+1)*share)
}

// inFlight returns the requests in flight at all endpoints.
func (s *Set) inFlight(now time.Duration) (total int64) {
	if len(s.endpoints) > counted && int64(now) < s.nextCount.Load() {
		return s.total.Load()
	}
	for _, e := range s.endpoints {
		total += e.inFlight()
	}
	s.total.Store(total)
	s.nextCount.Store(int64(now + recount))
	return total
}

// places returns the ring.
func (s *Set) places() []point {
	s.ringOnce.Do(func() {
		mean := float64(min(max(allPoints/max(len(s.endpoints), 1), leastPoints), points))
		for i, e := range s.endpoints {
			if !s.pickable(i) {
				continue
			}
			hash := e.identity
			for range min(max(int(mean*s.weights[i]), 1), mostPoints) {
				hash = mix(hash + golden)
				s.ring = append(s.ring, point{hash, int32(i)})
			}
		}
		slices.SortFunc(s.ring, func(a, b point) int { return cmp.Compare(a.hash, b.hash) })
	})
	return s.ring
}

// mix is the finalizer of splitmix64 (Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
