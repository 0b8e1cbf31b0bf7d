package shed

import (
	"math"
	"sync/atomic"
	"time"
)

// window collects what one update of the limit needs. Requests write it without a lock. While an update empties it, a request may fall into
// the window before or after.
type window struct {
	start atomic.Int64 // may lie in the future, while old requests finish

	samples  atomic.Int64
	logs     atomic.Int64 // the sum of the logarithms of the latencies, in units of 1/logUnit
	finished atomic.Int64 // requests that gave a place back

	arrived  atomic.Int64
	inFlight atomic.Int64 // the sum of what arriving requests have seen
	peak     atomic.Int64
	refused  atomic.Int64
	offered  [levels]atomic.Int64
}

const logUnit = 1 << 20

const (
	// shortest is the shortest window.
	shortest = 100 * time.Millisecond
	// enough samples end a window. The geometric mean of 100 exponential latencies is off by 13 % (standard deviation).
	enough = 100
	// longest is the window that ends with few samples.
	longest, few = 5 * time.Second, 20
)

// arrive notes a request, and what was in flight before it.
func (w *window) arrive(now time.Duration, level int, inFlight int64, refused bool) {
	if int64(now) < w.start.Load() {
		return
	}
	w.arrived.Add(1)
	w.offered[level].Add(1)
	w.inFlight.Add(inFlight)
	if refused {
		w.refused.Add(1)
	}
	for {
		peak := w.peak.Load()
		if inFlight <= peak || w.peak.CompareAndSwap(peak, inFlight) {
			return
		}
	}
}

// finish notes a request that gave its place back, and reports whether the window is full.
func (w *window) finish(now, latency time.Duration, sampled bool) (full bool) {
	age := now - time.Duration(w.start.Load())
	if age < 0 {
		return false
	}
	w.finished.Add(1)
	if !sampled {
		return false
	}
	w.logs.Add(int64(math.Log(max(latency, 1).Seconds()) * logUnit))
	n := w.samples.Add(1)
	return n >= enough && age >= shortest || n >= few && age >= longest
}

// totals are the contents of a window.
type totals struct {
	sample
	finished float64
	offered  [levels]float64
}

// take empties the window.
func (w *window) take() (t totals) {
	samples, arrived := float64(w.samples.Swap(0)), float64(w.arrived.Swap(0))
	t.latency = math.Exp(float64(w.logs.Swap(0)) / logUnit / max(samples, 1))
	t.inFlight = float64(w.inFlight.Swap(0)) / max(arrived, 1)
	t.peak = float64(w.peak.Swap(0))
	t.contended = w.refused.Swap(0) > 0
	t.finished = float64(w.finished.Swap(0))
	for level := range t.offered {
		t.offered[level] = float64(w.offered[level].Swap(0))
	}
	return t
}
