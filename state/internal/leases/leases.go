// Package leases has what all leases of this module share: the limits that an engine sets to TTLs, and the upkeep that renews a lease
// and gives up in time.
package leases

import (
	"fmt"
	"math"
	"time"

	"github.com/go-os/go-os/internal/fault"
)

// Limits say how an engine treats TTLs. The types of the driver packages (kv's TTLLimits, sync's LeaseLimits) have the same fields, so that
// they convert to it; they document them.
type Limits struct {
	Min         time.Duration
	Max         time.Duration
	Granularity time.Duration
	Stretch     int
	MaxLateness time.Duration
}

// Fit returns a TTL as the engine takes it: rounded up to the granularity. One outside the limits is fault.Invalid. system is the name of
// the engine.
func (l Limits) Fit(system string, ttl time.Duration) (time.Duration, error) {
	switch {
	case ttl >= l.Min && (l.Max <= 0 || ttl <= l.Max && l.roundUp(ttl) <= l.Max):
		return l.roundUp(ttl), nil
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

// Latest returns how long after its last renewal a lease with this TTL is over, at most. It is math.MaxInt64 if a Duration cannot hold it.
func (l Limits) Latest(ttl time.Duration) time.Duration {
	stretch, ttl := time.Duration(max(l.Stretch, 1)), l.roundUp(ttl)
	if ttl > (math.MaxInt64-l.MaxLateness)/stretch {
		return math.MaxInt64
	}
	return stretch*ttl + l.MaxLateness
}
