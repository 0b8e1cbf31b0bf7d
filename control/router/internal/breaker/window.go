package breaker

import (
	"sync"
	"sync/atomic"
	"time"
)

// kinds is how many kinds of events a window counts at most.
const kinds = 3

type tally [kinds]int64

// window counts events over a sliding window of time. Adding an event costs one atomic addition and no lock. It keeps totals since it was
// made, and a mark of the totals at the start of each bucket. The events in the window are the totals minus the oldest mark, so no event is
// lost or counted twice while buckets change.
type window struct {
	total [kinds]atomic.Int64

	_ [64]byte // what follows is read by every call and rarely written

	base  [kinds]atomic.Int64 // the oldest mark
	young [kinds]atomic.Int64 // the mark that begins the recent part
	next  atomic.Int64        // when the current bucket ends

	_ [64]byte

	mu     sync.Mutex // guards what follows, and the writing of base, young and next
	marks  []tally    // a ring: the totals at the start of each bucket
	head   int        // the mark of the current bucket
	bucket time.Duration
	late   int // buckets of the recent part
}

// newWindow returns a window of a length in buckets. It covers the current bucket and the others before it: up to one bucket less than the
// length, and with one extra bucket up to one more.
func newWindow(length time.Duration, buckets, extra int) *window {
	return &window{bucket: length / time.Duration(buckets), marks: make([]tally, buckets+extra), late: 1}
}

// add counts n events of a kind. The caller has called advance.
func (w *window) add(kind int, n int64) { w.total[kind].Add(n) }

// in returns the number of events of a kind in the window. It is at least 0, even while the window moves.
func (w *window) in(kind int) int64 {
	base := w.base[kind].Load()
	return max(w.total[kind].Load()-base, 0)
}

// recent is in for the recent part of the window.
func (w *window) recent(kind int) int64 {
	base := w.young[kind].Load()
	return max(w.total[kind].Load()-base, 0)
}

// advance moves the window to now. Time that goes back leaves it where it is.
func (w *window) advance(now time.Duration) {
	if int64(now) >= w.next.Load() {
		w.slide(now)
	}
}

func (w *window) slide(now time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := time.Duration(w.next.Load())
	if now < next {
		return
	}
	steps := int64((now-next)/w.bucket) + 1
	totals := w.totals()
	for range min(steps, int64(len(w.marks))) {
		w.head = (w.head + 1) % len(w.marks)
		w.marks[w.head] = totals
	}
	w.publish()
	w.next.Store(int64(next) + steps*int64(w.bucket))
}

// cancel takes back one event of a kind that was added at a time, and reports whether it was still in the window.
func (w *window) cancel(kind int, at time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.marks)
	start := time.Duration(w.next.Load()) - w.bucket // of the current bucket
	if at < start-w.bucket*time.Duration(n-1) {
		return false
	}
	w.total[kind].Add(-1)
	for i := 0; start > at; i++ { // the marks since then have counted it
		w.marks[(w.head-i+n)%n][kind]--
		start -= w.bucket
	}
	return true
}

// restart forgets all events so far.
func (w *window) restart() {
	w.mu.Lock()
	defer w.mu.Unlock()
	totals := w.totals()
	for i := range w.marks {
		w.marks[i] = totals
	}
	w.publish()
}

// resize changes the length. The window keeps its events; they leave it at the latest when a whole new window has passed.
func (w *window) resize(length time.Duration, buckets int, now time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	bucket := length / time.Duration(buckets)
	if bucket == w.bucket {
		return
	}
	oldest := w.marks[(w.head+1)%len(w.marks)]
	for i := range w.marks {
		w.marks[i] = oldest
	}
	w.publish()
	w.bucket = bucket
	w.next.Store(int64((now/bucket + 1) * bucket))
}

func (w *window) totals() (t tally) {
	for kind := range t {
		t[kind] = w.total[kind].Load()
	}
	return t
}

// publish makes the marks known to readers, under the lock.
func (w *window) publish() {
	oldest := w.marks[(w.head+1)%len(w.marks)]
	young := w.marks[(w.head-w.late+1+len(w.marks))%len(w.marks)]
	for kind := range kinds {
		w.base[kind].Store(oldest[kind])
		w.young[kind].Store(young[kind])
	}
}
