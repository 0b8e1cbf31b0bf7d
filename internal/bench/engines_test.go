package bench

import (
	"testing"
	"time"
)

// TestPairs asserts that a store costs next to nothing beside what its engine costs.
func TestPairs(t *testing.T) {
	blocks := 20
	if *long {
		blocks = 60
	}
	for _, pair := range append(Pairs, Cached) {
		t.Run(pair.Name, func(t *testing.T) {
			for try := 1; try <= attempts; try++ {
				c := pair.Compare(t, blocks)
				t.Logf("%s beside %s: time %.3f×, 99th percentile %.3f× (at most %.2f×)", c.Ours, c.Raw, c.Time, c.P99, pair.Most)
				if c.Time <= pair.Most && c.P99 <= pair.Most {
					return
				}
			}
			t.Errorf("more than %.2f× in each of %d attempts", pair.Most, attempts)
		})
	}
}

// TestFanOut asserts that no watcher misses an update.
func TestFanOut(t *testing.T) {
	for _, f := range FanOuts {
		if f.Pace > 0 && !*long {
			continue // it takes its time, and misses less than the one that does not
		}
		spread, err := f.Measure()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %+v", f.Name(), spread)
		if spread.Seen != f.Watchers*f.Updates {
			t.Errorf("%s: %d events were seen, want %d", f.Name(), spread.Seen, f.Watchers*f.Updates)
		}
	}
}

// TestStaleness asserts that a near cache on a connected watch is out of date for no longer than a few round trips.
func TestStaleness(t *testing.T) {
	const most = 100 * time.Millisecond
	s := MeasureStaleness(t, 500)
	t.Logf("%+v", s)
	if s.P99 > most {
		t.Errorf("of a hundred reads one is out of date for %s, at most %s are allowed", s.P99, most)
	}
}
