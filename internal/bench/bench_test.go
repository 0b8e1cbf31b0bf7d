package bench

import (
	"flag"
	"testing"
	"time"
)

// long widens the timed comparisons, for figures to publish.
var long = flag.Bool("long", false, "measure longer, for steadier ratios")

func BenchmarkHTTP(b *testing.B) { run(b, HTTP) }
func BenchmarkGRPC(b *testing.B) { run(b, GRPC) }
func BenchmarkLogs(b *testing.B) { run(b, Logs) }

func run(b *testing.B, cases []Case) {
	for _, c := range cases {
		b.Run(c.Name, c.Bench)
	}
}

// TestTargets asserts what this project promises of its speed. Ratios are judged on the median over interleaved rounds; a
// round of bad luck moves nothing, a slower middleware does.
func TestTargets(t *testing.T) {
	for _, group := range Groups {
		t.Run(group.Name, func(t *testing.T) {
			rounds, each := 30, 20*time.Millisecond
			if *long {
				rounds, each = 100, 50*time.Millisecond
			}
			figures := group.Measure(rounds, each)
			for _, target := range group.Targets {
				got := target.Got(figures)
				t.Logf("%s: %s (target: at most %s)", target.Name, target.Text(got), target.Text(target.Most))
				if got > target.Most {
					t.Errorf("%s: %s, want at most %s", target.Name, target.Text(got), target.Text(target.Most))
				}
			}
		})
	}
}
