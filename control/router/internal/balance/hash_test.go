package balance

import (
	"math"
	"testing"
	"time"
)

// placements returns the endpoint of each of 10,000 keys.
func placements(b *Balancer, s *Set) map[uint64]*Endpoint {
	placed := map[uint64]*Endpoint{}
	for k := range uint64(10_000) {
		i, _ := b.Pick(0, s, Key{Hash: k, Set: true}, nil)
		placed[k] = s.At(i)
	}
	return placed
}

func TestHashMovesOnlyTheShareOfAChange(t *testing.T) {
	all := endpoints(21)
	b := New(Config{Policy: ConsistentHash})
	before, after := placements(b, NewSet(all[:20], nil)), placements(b, NewSet(all, nil))
	moved := 0
	for k, e := range after {
		if e != before[k] {
			moved++
			if e != all[20] {
				t.Fatalf("key %d moved between endpoints that were there before", k)
			}
		}
	}
	if moved < 250 || moved > 750 {
		t.Errorf("%d of 10,000 keys moved to the new endpoint of 21, want about 476", moved)
	}
}

func TestHashIsTheSameInEveryOrder(t *testing.T) {
	all := endpoints(5)
	b := New(Config{Policy: ConsistentHash})
	other := New(Config{Policy: ConsistentHash})
	one, two := placements(b, NewSet(all, nil)), placements(other, NewSet([]*Endpoint{all[3], all[1], all[4], all[0], all[2]}, nil))
	for k := range one {
		if one[k] != two[k] {
			t.Fatalf("key %d has two endpoints", k)
		}
	}
}

func TestHashFollowsWeights(t *testing.T) {
	s := NewSet(endpoints(3), []float64{1, 2, 3})
	counts := map[*Endpoint]int{}
	for _, e := range placements(New(Config{Policy: ConsistentHash}), s) {
		counts[e]++
	}
	for i, want := range []float64{1667, 3333, 5000} {
		if got := float64(counts[s.At(i)]); math.Abs(got-want) > 0.25*want {
			t.Errorf("endpoint %d has %v keys, want about %v", i, got, want)
		}
	}
}

func TestHashBoundsTheLoad(t *testing.T) {
	b, s := fleet(ConsistentHash, 10)
	bounded := 0
	for n := range 1000 {
		i, why := b.Pick(0, s, Key{Hash: 7, Set: true}, nil) // one key takes all requests
		if why == Bounded {
			bounded++
		}
		s.At(i).Begin(0, false)
		if most := math.Ceil(1.25 * float64(n+1) / 10); float64(s.At(i).InFlight()) > most {
			t.Fatalf("after %d requests endpoint %d has %d in flight, want at most %v", n+1, i, s.At(i).InFlight(), most)
		}
	}
	if bounded < 800 {
		t.Errorf("%d of 1000 requests were moved on, want at least 800", bounded)
	}
}

func TestHashWithoutKey(t *testing.T) {
	b, s := fleet(ConsistentHash, 10)
	if i, why := b.Pick(0, s, Key{}, nil); i < 0 || why != Fallback {
		t.Errorf("Pick without a key = %d, %v, want an endpoint by fallback", i, why)
	}
}

func TestHashOfALargeFleet(t *testing.T) {
	for n, want := range map[int]int{20: 2000, 200: 20_000, 1000: 20_000, 10_000: 40_000} {
		if got := len(NewSet(endpoints(n), nil).places()); got != want {
			t.Errorf("the ring of %d endpoints has %d points, want %d", n, got, want)
		}
	}
	b, s := fleet(ConsistentHash, 1000)
	for n := range 5000 { // one key takes all requests; 1 ms passes between two
		now := time.Duration(n) * time.Millisecond
		i, _ := b.Pick(now, s, Key{Hash: 7, Set: true}, nil)
		s.At(i).Begin(now, false)
		if most := math.Ceil(1.25 * float64(n+1) / 1000); float64(s.At(i).InFlight()) > most {
			t.Fatalf("after %d requests endpoint %d has %d in flight, want at most %v", n+1, i, s.At(i).InFlight(), most)
		}
	}
}
