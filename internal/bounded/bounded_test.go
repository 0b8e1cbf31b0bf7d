package bounded_test

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-os/go-os/internal/bounded"
)

func TestCacheBuildsEachKeyOnce(t *testing.T) {
	var c bounded.Cache[int, string]
	built := map[int]int{}
	for range 3 {
		for key := range 100 {
			got := c.Get(key, func(k int) string { built[k]++; return strconv.Itoa(k) })
			if want := strconv.Itoa(key); got != want {
				t.Fatalf("Get(%d) = %q, want %q", key, got, want)
			}
		}
	}
	for key, n := range built {
		if n != 1 {
			t.Errorf("key %d was built %d times, want once", key, n)
		}
	}
	if c.Len() != 100 {
		t.Errorf("Len() = %d, want 100", c.Len())
	}
}

func TestCacheStopsAtItsLimit(t *testing.T) {
	for _, test := range []struct{ limit, want int }{{10, 10}, {1, 1}, {0, bounded.DefaultLimit}, {-3, bounded.DefaultLimit}} {
		c := bounded.New[int, int](test.limit)
		double := func(k int) int { return 2 * k }
		for key := range 3 * test.want {
			if got := c.Get(key, double); got != 2*key {
				t.Fatalf("limit %d: Get(%d) = %d, want %d", test.limit, key, got, 2*key)
			}
		}
		if c.Len() != test.want {
			t.Errorf("limit %d: %d entries were kept, want %d", test.limit, c.Len(), test.want)
		}
		builds := 0
		c.Get(0, func(int) int { builds++; return 0 })
		c.Get(3*test.want, func(int) int { builds++; return 0 })
		if builds != 1 {
			t.Errorf("limit %d: %d builds for a kept and an unknown key, want 1", test.limit, builds)
		}
	}
}

func TestAdmitTellsWhatIsKept(t *testing.T) {
	c := bounded.New[string, int](2)
	length := func(k string) int { return len(k) }
	for _, test := range []struct {
		key  string
		kept bool
	}{{"a", true}, {"bb", true}, {"ccc", false}, {"a", true}, {"ccc", false}, {"bb", true}} {
		v, kept := c.Admit(test.key, length)
		if v != len(test.key) || kept != test.kept {
			t.Errorf("Admit(%q) = %d, %t, want %d, %t", test.key, v, kept, len(test.key), test.kept)
		}
	}
}

func TestCacheIsSafeForConcurrentUse(t *testing.T) {
	c := bounded.New[int, int](64)
	var builds atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				key := (i*7 + g) % 64
				if got := c.Get(key, func(k int) int { builds.Add(1); return -k }); got != -key {
					t.Errorf("Get(%d) = %d, want %d", key, got, -key)
				}
			}
		})
	}
	wg.Wait()
	if builds.Load() != 64 || c.Len() != 64 {
		t.Errorf("%d builds and %d entries for 64 keys within the limit, want 64 and 64", builds.Load(), c.Len())
	}
}

func TestCacheHitDoesNotAllocate(t *testing.T) {
	type key struct {
		route  string
		status int
	}
	var c bounded.Cache[key, *int]
	build := func(k key) *int { return &k.status }
	c.Get(key{"/a", 200}, build)
	c.Get(key{"/a", 200}, build)
	if n := testing.AllocsPerRun(100, func() { c.Get(key{"/a", 200}, build) }); n != 0 {
		t.Errorf("a hit allocates %v times, want 0", n)
	}
}

func BenchmarkCacheHit(b *testing.B) {
	var c bounded.Cache[int, int]
	build := func(k int) int { return k }
	for key := range 100 {
		c.Get(key, build)
		c.Get(key, build)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			c.Get(i%100, build)
		}
	})
}
