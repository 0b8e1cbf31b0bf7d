package breaker

import (
	"math"
	"time"
)

// trial is the state of a half-open breaker. The breaker's lock guards it.
type trial struct {
	round   uint32        // of permits; an older permit has expired
	pending int           // permits without a result
	active  time.Duration // when a permit was last granted or came back

	done, failed, slow int
}

// begin starts a half-open phase.
func (t *trial) begin() { *t = trial{round: t.round + 1} }

// grant takes a permit. A permit whose call never ends must not block the breaker for good (resilience4j#935): all permits expire when
// nothing has been granted or recorded for Config.PermitTime.
func (t *trial) grant(now time.Duration, c *Config) bool {
	if t.pending+t.done >= c.HalfOpen {
		if t.pending == 0 || now-t.active < c.PermitTime {
			return false
		}
		t.round++
		t.pending = 0
	}
	t.pending++
	t.active = now
	return true
}

func (t *trial) record(now time.Duration, r Result, slow bool) {
	t.pending--
	t.active = now
	if r == Neutral {
		return
	}
	t.done++
	if r == Failure {
		t.failed++
	}
	if slow {
		t.slow++
	}
}

// decide returns Open or Closed once the remaining trials cannot change the decision, and HalfOpen before that.
func (t *trial) decide(c *Config) (to State, reason string) {
	failed := enough(c.Ratio, c.HalfOpen)
	slow := c.HalfOpen + 1 // never
	if c.SlowCall > 0 {
		slow = enough(c.SlowRatio, c.HalfOpen)
	}
	switch {
	case t.failed >= failed:
		return Open, ReasonTrialsFailed
	case t.slow >= slow:
		return Open, ReasonTrialsSlow
	}
	left := max(c.HalfOpen-t.done, 0)
	if t.failed+left < failed && t.slow+left < slow {
		return Closed, ReasonTrialsPassed
	}
	return HalfOpen, ""
}

// enough returns the smallest number that is this share of n, at least 1.
func enough(share float64, n int) int {
	return max(int(math.Ceil(share*float64(n))), 1)
}
