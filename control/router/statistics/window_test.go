package statistics

import (
	"testing"
	"time"
)

// TestWindow forgets latencies after 10 to 20 seconds.
func TestWindow(t *testing.T) {
	var w Window
	for range 100 {
		w.Record(time.Second, 10*time.Millisecond)
	}
	w.Record(11*time.Second, time.Second)
	count := func(at time.Duration) uint64 {
		d := w.Digest(at)
		return d.Count()
	}
	for _, tt := range []struct {
		at   time.Duration
		want uint64
	}{{time.Second, 101 - 1}, {12 * time.Second, 101}, {19 * time.Second, 101}, {21 * time.Second, 1}, {31 * time.Second, 0}, {time.Hour, 0}} {
		if got := count(tt.at); got != tt.want {
			t.Errorf("at %v: %d latencies, want %d", tt.at, got, tt.want)
		}
	}
	d := w.Digest(12 * time.Second)
	if median := d.Quantile(0.5); median < 9*time.Millisecond || median > 11*time.Millisecond {
		t.Errorf("median %v, want 10 ms", median)
	}
	w.Record(31*time.Second, time.Second) // the slot of the first span
	if got := count(31 * time.Second); got != 1 {
		t.Errorf("%d latencies after a slot was used again, want 1", got)
	}
	w.Record(5*time.Second, time.Second) // late: its slot is in use for a later span
	if got := count(31 * time.Second); got != 1 {
		t.Errorf("%d latencies after a late one, want 1", got)
	}
}
