package bench

import (
	"testing"
	"time"
)

// TestFleet asserts that every instance of a large fleet sees every change, and soon.
func TestFleet(t *testing.T) {
	for _, f := range Fleets {
		t.Run(f.Name(), func(t *testing.T) {
			if !*long {
				f.Changes = 10
			}
			seen, err := f.Measure(t)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d instances, %d changes: %+v", f.Instances, f.Changes, seen)
			if err := seen.Whole(f); err != nil {
				t.Error(err)
			}
			if seen.P99 > 2*time.Second {
				t.Errorf("the 99th percentile is %s", seen.P99)
			}
		})
	}
}
