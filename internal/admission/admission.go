// Package admission bounds how much work a server accepts, and keeps refusals cheap.
//
//	limit := admission.NewLimit(100)
//	if !limit.Acquire() {
//		return errBusy // and nothing is held
//	}
//	defer limit.Release()
//
// A server that refuses does so because it is overloaded. A refusal must therefore hold no place, and it must not queue for
// anything that admitted work needs, such as a synchronous log sink.
package admission

import (
	"sync/atomic"
	"time"
)

// Limit is a number of places. It is safe for concurrent use. A nil Limit has room for everything.
type Limit struct {
	places int64
	taken  atomic.Int64
}

// NewLimit returns a Limit with that many places, or nil if places is below 1.
func NewLimit(places int) *Limit {
	if places < 1 {
		return nil
	}
	return &Limit{places: int64(places)}
}

// Acquire takes a place and reports whether one was free. A failed call holds nothing, not even for a moment, so refused callers cannot
// keep others out.
func (l *Limit) Acquire() bool {
	if l == nil {
		return true
	}
	for {
		taken := l.taken.Load()
		if taken >= l.places {
			return false
		}
		if l.taken.CompareAndSwap(taken, taken+1) {
			return true
		}
	}
}

// Release gives a place back.
func (l *Limit) Release() {
	if l != nil {
		l.taken.Add(-1)
	}
}

// maxLines is how many refusals a second get a log line.
const maxLines = 10

// Lines decides which refusals are logged. At most one line is written at a time and at most ten in a second, so that a slow
// sink stays free for the lines of admitted work. Refusals without a line are counted; the next line carries their number.
// The zero value is ready to use. It is safe for concurrent use.
type Lines struct {
	busy     atomic.Bool // guards second and written
	second   int64       // Unix time of the last line
	written  int         // lines in that second
	unlogged atomic.Int64
}

// Begin reports whether a refusal at this time is logged. If so, the caller must call End once the line is written.
func (l *Lines) Begin(now time.Time) bool {
	if !l.busy.CompareAndSwap(false, true) {
		l.unlogged.Add(1)
		return false
	}
	if second := now.Unix(); second != l.second {
		l.second, l.written = second, 0
	}
	if l.written == maxLines {
		l.busy.Store(false)
		l.unlogged.Add(1)
		return false
	}
	l.written++
	return true
}

// End follows Begin once the line is written.
func (l *Lines) End() { l.busy.Store(false) }

// TakeUnlogged returns how many refusals had no line since the last call. The caller must log the number.
func (l *Lines) TakeUnlogged() int64 {
	if l.unlogged.Load() == 0 { // the usual case costs no write to a shared cache line
		return 0
	}
	return l.unlogged.Swap(0)
}
