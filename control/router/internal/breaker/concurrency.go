package breaker

import "sync/atomic"

// Concurrency limits how many calls are in flight, to a service or to an endpoint. The zero value has no limit and counts.
type Concurrency struct {
	limit    atomic.Int64 // 0: none
	taken    atomic.Int64
	rejected atomic.Int64
}

// SetLimit changes the limit. 0 means none. Calls in flight beyond a lower limit go on.
func (c *Concurrency) SetLimit(limit int) error {
	if limit < 0 {
		return invalid("concurrency limit is %d: give a positive value, or 0 for no limit", limit)
	}
	c.limit.Store(int64(limit))
	return nil
}

// Acquire takes a place and reports whether one was free. A refused call holds nothing, not even for a moment.
func (c *Concurrency) Acquire() bool {
	for {
		taken, limit := c.taken.Load(), c.limit.Load()
		if limit > 0 && taken >= limit {
			c.rejected.Add(1)
			return false
		}
		if c.taken.CompareAndSwap(taken, taken+1) {
			return true
		}
	}
}

// Release gives a place back. It must follow Acquire once, if that returned true.
func (c *Concurrency) Release() { c.taken.Add(-1) }

// ConcurrencyCounts are the numbers behind a Concurrency.
type ConcurrencyCounts struct {
	InFlight int64
	Limit    int64 // 0: none
	Rejected int64 // since the start
}

// Counts returns the numbers behind the decisions.
func (c *Concurrency) Counts() ConcurrencyCounts {
	return ConcurrencyCounts{InFlight: c.taken.Load(), Limit: c.limit.Load(), Rejected: c.rejected.Load()}
}
