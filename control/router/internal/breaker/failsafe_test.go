package breaker_test

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/control/router/internal/breaker"
)

// TestBreakerAgreesWithFailsafe replays a record of failsafe-go's circuit breaker, with its sliding window of time and its half-open state by a
// ratio of trials. Module internal/tooling/bench makes the record and checks that it is true.
func TestBreakerAgreesWithFailsafe(t *testing.T) {
	file, err := os.Open("testdata/failsafe.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var b *breaker.Breaker
	seen := map[string]int{}
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "breaker "):
			b = recordedBreaker(t, line)
		default:
			state, ours := replay(t, b, line)
			if ours != line {
				t.Fatalf("line %d: %q, ours is %q", n, line, ours)
			}
			seen[state]++
		}
	}
	if lines.Err() != nil || seen["closed"] < 500 || seen["open"] < 500 || seen["half_open"] < 100 {
		t.Errorf("%v, states %v: want a record of many calls in each state", lines.Err(), seen)
	}
}

func recordedBreaker(t *testing.T, line string) *breaker.Breaker {
	t.Helper()
	var window, open string
	c := breaker.Config{Random: func() uint64 { return 0 }}
	if _, err := fmt.Sscanf(line, "breaker %g %d %s %s %d", &c.Ratio, &c.MinVolume, &window, &open, &c.HalfOpen); err != nil {
		t.Fatal(line, err)
	}
	c.Window, c.Open = duration(t, window), duration(t, open)
	c.MaxOpen = c.Open // failsafe-go stays open for the same time each time
	b, err := breaker.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// replay makes the call of a line, and returns the line that ours makes of it.
func replay(t *testing.T, b *breaker.Breaker, line string) (state, ours string) {
	t.Helper()
	fields := strings.Fields(line)
	now, result := duration(t, fields[0]), breaker.Success
	if fields[1] == "failure" {
		result = breaker.Failure
	}
	permit, ok := b.Allow(now)
	permit.Record(now, result, 0)
	state = b.State(now).String()
	return state, fmt.Sprintf("%s %s %v %s", fields[0], fields[1], ok, state)
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
