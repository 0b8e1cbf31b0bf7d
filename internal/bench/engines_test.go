package bench

import "testing"

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
