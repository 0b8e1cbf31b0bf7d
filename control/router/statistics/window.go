package statistics

import (
	"sync"
	"sync/atomic"
	"time"
)

// span is how long a slot of a Window takes latencies.
const span = 10 * time.Second

// Window is a histogram of the latencies of the last 10 to 20 seconds, by a clock that its callers bring. Its zero value is empty. It is safe
// for concurrent use. A latency that is recorded while a slot begins may be lost.
type Window struct {
	mu    sync.Mutex // held while a slot begins
	slots [3]slot    // the present one, the one before, and one that is out of use
}

// slot holds the latencies of one span.
type slot struct {
	epoch  atomic.Int64 // number of the span, from 1
	counts [buckets]atomic.Uint32
}

func epochOf(now time.Duration) int64 { return int64(now/span) + 1 }

// Record takes a latency.
func (w *Window) Record(now, latency time.Duration) {
	epoch := epochOf(now)
	s := &w.slots[epoch%int64(len(w.slots))]
	if s.epoch.Load() != epoch && !w.begin(s, epoch) {
		return
	}
	s.counts[bucketOf(max(latency, 0))].Add(1)
}

// begin empties a slot for a span. It returns false if the slot has a later one.
func (w *Window) begin(s *slot, epoch int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.epoch.Load() >= epoch {
		return s.epoch.Load() == epoch
	}
	for i := range s.counts {
		s.counts[i].Store(0)
	}
	s.epoch.Store(epoch)
	return true
}

// Digest returns the latencies of the present span and the one before.
func (w *Window) Digest(now time.Duration) Digest {
	var all [buckets]uint64
	epoch := epochOf(now)
	for i := range w.slots {
		s := &w.slots[i]
		if at := s.epoch.Load(); at != epoch && at != epoch-1 {
			continue
		}
		for b := range s.counts {
			all[b] += uint64(s.counts[b].Load())
		}
	}
	return digestOf(&all, 0)
}
