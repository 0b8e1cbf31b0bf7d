package leases_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/state/internal/leases"
)

func TestFit(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	bounded := leases.Limits{Min: 2 * s, Max: 10 * s, Granularity: s}
	open := leases.Limits{Min: 100 * ms}
	for _, c := range []struct {
		limits    leases.Limits
		ttl, want time.Duration
		err       string
	}{
		{bounded, 2 * s, 2 * s, ""},
		{bounded, 2*s + 1, 3 * s, ""},
		{bounded, 9*s + 1, 10 * s, ""},
		{bounded, 10 * s, 10 * s, ""},
		{bounded, 2*s - 1, 0, "invalid: a TTL of 1.999999999s, where db takes 2s to 10s"},
		{bounded, 10*s + 1, 0, "invalid: a TTL of 10.000000001s, where db takes 2s to 10s"},
		{bounded, -s, 0, "invalid: a TTL of -1s, where db takes 2s to 10s"},
		{open, 100*ms + 1, 100*ms + 1, ""},
		{open, 99 * ms, 0, "invalid: a TTL of 99ms, where db takes 100ms or more"},
		{leases.Limits{}, time.Nanosecond, time.Nanosecond, ""},
		{leases.Limits{Granularity: s}, math.MaxInt64, math.MaxInt64 / s * s, ""},
		{leases.Limits{Max: 10*s + 1, Granularity: s}, 10*s + 1, 0, "invalid: a TTL of 10.000000001s, where db takes 0s to 10.000000001s"},
	} {
		got, err := c.limits.Fit("db", c.ttl)
		if got != c.want || c.err == "" && err != nil || c.err != "" && (err == nil || err.Error() != c.err || !errors.Is(err, fault.Invalid)) {
			t.Errorf("Fit(%s) within %+v = %s, %v; want %s, %q", c.ttl, c.limits, got, err, c.want, c.err)
		}
	}
}

func TestLatest(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		limits    leases.Limits
		ttl, want time.Duration
	}{
		{leases.Limits{}, s, s},
		{leases.Limits{MaxLateness: s}, 2 * s, 3 * s},
		{leases.Limits{Stretch: 2}, math.MaxInt64 / 2, math.MaxInt64 - 1},
		{leases.Limits{Stretch: 2}, math.MaxInt64/2 + 1, math.MaxInt64},
		{leases.Limits{MaxLateness: s}, math.MaxInt64, math.MaxInt64},
		{leases.Limits{Granularity: s, Stretch: 2, MaxLateness: 5 * s}, 10 * s, 25 * s},
		{leases.Limits{Granularity: s, Stretch: 2, MaxLateness: 5 * s}, 10*s + 1, 27 * s}, // the engine stretches the rounded TTL
	} {
		if got := c.limits.Latest(c.ttl); got != c.want {
			t.Errorf("Latest(%s) of %+v = %s, want %s", c.ttl, c.limits, got, c.want)
		}
	}
}
