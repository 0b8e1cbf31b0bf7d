package oshttp

import (
	"fmt"
	"hash/maphash"
	"testing"
)

// Counting paths allocates nothing, before and after the report, and reads a bounded part of a path.
func TestCatchAllCost(t *testing.T) {
	c := catchAll{seed: maphash.MakeSeed()}
	long := make([]byte, 1<<20)
	paths := make([]string, 1000)
	for i := range paths {
		paths[i] = fmt.Sprint("/", i)
	}
	reports := 0
	if n := testing.AllocsPerRun(10, func() {
		for _, path := range paths {
			if c.add(path) {
				reports++
			}
		}
	}); n != 0 || reports != 1 {
		t.Errorf("%v allocations for 1000 paths and %d reports, want 0 and 1", n, reports)
	}
	fresh := catchAll{seed: maphash.MakeSeed()}
	fresh.add(string(long))
	fresh.add(string(append(long, 'x')))
	if got := fresh.paths.Load(); got != 1 {
		t.Errorf("%d paths, want 1: they differ beyond the bound", got)
	}
}
