package driver_test

import (
	"math"
	"testing"
	"time"

	"github.com/go-os/go-os/state/kv/driver"
)

// TestLatestSaturates passes more than a Duration holds.
func TestLatestSaturates(t *testing.T) {
	for _, l := range []driver.TTLLimits{{Granularity: time.Second}, {Stretch: 2}, {MaxLateness: time.Second}} {
		if got := l.Latest(math.MaxInt64); got < math.MaxInt64/time.Second*time.Second {
			t.Errorf("%+v: %v", l, got)
		}
	}
}
