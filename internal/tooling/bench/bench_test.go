package bench

import (
	"flag"
	"os"
	"testing"
	"time"
)

// long widens the timed comparisons, for figures to publish.
var long = flag.Bool("long", false, "measure longer, for steadier ratios")

func TestMain(m *testing.M) {
	Candidate()
	os.Exit(m.Run())
}

func BenchmarkHTTP(b *testing.B)   { run(b, HTTP) }
func BenchmarkGRPC(b *testing.B)   { run(b, GRPC) }
func BenchmarkLogs(b *testing.B)   { run(b, Logs) }
func BenchmarkKV(b *testing.B)     { run(b, KV) }
func BenchmarkPicks(b *testing.B)  { run(b, Picks) }
func BenchmarkConfig(b *testing.B) { run(b, Config) }

func run(b *testing.B, cases []Case) {
	for _, c := range cases {
		b.Run(c.Name, c.Bench)
	}
}

// attempts is how often a ratio is measured before it counts as missed. Other work on the machine can only add to a time, and not to both
// sides alike. A middleware that has become slower misses every time.
const attempts = 6

// TestTargets asserts the speed that this project promises.
func TestTargets(t *testing.T) {
	rounds, each := 2000, 250*time.Microsecond
	if *long {
		rounds, each = 10_000, 250*time.Microsecond
	}
	for _, group := range Groups {
		t.Run(group.Name, func(t *testing.T) {
			missed := group.Targets
			for try := 1; try <= attempts && len(missed) > 0; try++ {
				missed = measure(t, group, missed, rounds, each)
			}
			for _, target := range missed {
				t.Errorf("%s: more than %s in each of %d attempts", target.Name, target.Text(target.Most), attempts)
			}
		})
	}
}

// measure returns the targets that were missed this time. Allocations are exact: their misses are final.
func measure(t *testing.T, group Group, targets []Target, rounds int, each time.Duration) (missed []Target) {
	figures := group.Measure(rounds, each)
	for _, target := range targets {
		got := target.Got(figures)
		t.Logf("%s: %s (at most %s)", target.Name, target.Text(got), target.Text(target.Most))
		switch {
		case got <= target.Most:
		case target.Unit == "allocations":
			t.Errorf("%s: %s, want at most %s", target.Name, target.Text(got), target.Text(target.Most))
		default:
			missed = append(missed, target)
		}
	}
	return missed
}
