package bench

import (
	"os"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/suite"
)

// TestBalancing compares the router with round_robin: the 99th and the 99.5th percentile with slow servers, also while the registry flaps,
// and the share of failed calls with broken ones. The targets for the percentiles, 6 times better, hold on a machine with nothing else to do.
// On another one the test only shows that the router avoids slow servers at all.
func TestBalancing(t *testing.T) {
	balancers, passes, calls := Balancers[:2], 1, 1000
	limits := Limits{P99: 0.5, P995: 1.5, Failed: 0.15}
	if os.Getenv(suite.MeasureVariable) == "on" {
		balancers, passes, calls = Balancers, 4, 2000
		limits = Limits{P99: 1.0 / 6, P995: 1.0 / 6, Failed: 0.15}
	}
	for _, s := range Scenarios {
		t.Run(s.Name, func(t *testing.T) {
			for try := 1; ; try++ {
				results := s.Measure(t, balancers, passes, calls)
				for i, r := range results {
					t.Logf("%s: median %v, 99th percentile %v, 99.5th %v, failed %.2f %%", balancers[i].Name,
						r.P50.Round(time.Millisecond), r.P99.Round(time.Millisecond), r.P995.Round(time.Millisecond), 100*r.Failed)
				}
				missed := limits.Missed(results[1], results[0])
				if missed == "" {
					return
				}
				if try == attempts {
					t.Fatalf("in each of %d attempts: %s", attempts, missed)
				}
			}
		})
	}
}
