package shed

import (
	"math"
	"sync/atomic"
	"time"
)

// window collects what one update of the limit needs. Requests write it without a lock. While an update empties it, a request may fall into
// the window before or after.
type window struct {
	start atomic.Int64
	since atomic.Int64 // requests admitted before then give no samples: they have waited behind those of a higher limit

	samples   atomic.Int64
	dropped   atomic.Int64 // samples
	latencies latencies
	inFlight  atomic.Int64 // the sum of the logarithms of what the samples saw in flight when they were admitted, in 1/logUnit
	finished  atomic.Int64 // requests that gave a place back

	most    atomic.Int64 // of what the samples saw
	peak    atomic.Int64 // of admitted requests
	refused atomic.Int64
	offered [levels]atomic.Int64
}

const logUnit = 1 << 20

const (
	// shortest is the shortest window.
	shortest = 100 * time.Millisecond
	// enough samples end a window. The typical one of 100 exponential latencies is off by 13 % (standard deviation).
	enough = 100
	// longest is the window that ends with few samples.
	longest, few = time.Second, 40
)

// arrive notes a request, and what is in flight with it.
func (w *window) arrive(level int, inFlight int64, refused bool) {
	w.offered[level].Add(1)
	if refused {
		w.refused.Add(1)
		return
	}
	raise(&w.peak, inFlight)
}

// raise sets a maximum.
func raise(highest *atomic.Int64, n int64) {
	for {
		known := highest.Load()
		if n <= known || highest.CompareAndSwap(known, n) {
			return
		}
	}
}

// sample notes the latency of a request, and reports whether the window is full.
func (w *window) sample(now time.Duration, a *Admission, dropped bool) (full bool) {
	if int64(a.start) < w.since.Load() {
		return false
	}
	if dropped {
		w.dropped.Add(1)
	}
	w.latencies.add(now - a.start)
	w.inFlight.Add(int64(math.Log(float64(a.inFlight)) * logUnit))
	raise(&w.most, a.inFlight)
	age, n := w.age(now), w.samples.Add(1)
	return n >= enough && age >= shortest || n >= few && age >= longest
}

func (w *window) age(now time.Duration) time.Duration { return now - time.Duration(w.start.Load()) }

// totals are the contents of a window.
type totals struct {
	sample
	finished float64
	offered  [levels]float64
}

// take empties the window and begins the next.
func (w *window) take(now time.Duration) (t totals) {
	samples := float64(w.samples.Swap(0))
	t.dropped = float64(w.dropped.Swap(0)) / max(samples, 1)
	t.latency = w.latencies.take()
	t.inFlight = math.Exp(float64(w.inFlight.Swap(0)) / logUnit / max(samples, 1))
	t.most, t.peak = float64(w.most.Swap(0)), float64(w.peak.Swap(0))
	t.contended = w.refused.Swap(0) > 0
	t.finished = float64(w.finished.Swap(0))
	for level := range t.offered {
		t.offered[level] = float64(w.offered[level].Swap(0))
	}
	w.start.Store(int64(now))
	return t
}
