// Package leases implements the common parts of all leases of this module: the TTL limits of an engine, and the upkeep that renews a
// lease and gives up in time.
package leases

import (
	"fmt"
	"math"
	"time"

	"github.com/go-os/go-os/internal/fault"
)

// Limits describe how an engine treats TTLs. The types of the driver packages (kv's TTLLimits, sync's LeaseLimits) have the same fields,
// so they convert to Limits. They document the fields.
type Limits struct {
	Min         time.Duration
	Max         time.Duration
	Granularity time.Duration
	Stretch     int
	MaxLateness time.Duration
}

// Fit returns a TTL rounded up to the engine's granularity. A TTL outside the limits is fault.Invalid. system is the name of the engine.
func (l Limits) Fit(system string, ttl time.Duration) (time.Duration, error) {
	rounded := l.roundUp(ttl)
	switch {
	case ttl >= l.Min && (l.Max <= 0 || rounded <= l.Max):
		return rounded, nil
	case l.Max <= 0:
		return 0, fmt.Errorf("%w: a TTL of %s, where %s takes %s or more", fault.Invalid, ttl, system, l.Min)
	default:
		return 0, fmt.Errorf("%w: a TTL of %s, where %s takes %s to %s", fault.Invalid, ttl, system, l.Min, l.Max)
	}
}

func (l Limits) roundUp(ttl time.Duration) time.Duration {
	if l.Granularity <= 0 || ttl%l.Granularity == 0 {
		return ttl
	}
	whole := ttl - ttl%l.Granularity
	if whole > math.MaxInt64-l.Granularity {
		return whole // the longest that a Duration holds
	}
	return whole + l.Granularity
}

// Latest returns the longest time from a lease's last renewal to its end. It is math.MaxInt64 if a Duration cannot hold it.
func (l Limits) Latest(ttl time.Duration) time.Duration {
	stretch, ttl := time.Duration(max(l.Stretch, 1)), l.roundUp(ttl)
	if ttl > (math.MaxInt64-l.MaxLateness)/stretch {
		return math.MaxInt64
	}
	return stretch*ttl + l.MaxLateness
}
