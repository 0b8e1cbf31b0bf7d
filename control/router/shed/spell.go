package shed

import (
	"sync/atomic"
	"time"
)

// calm is how long nothing must be refused for a spell of shedding to be over.
const calm = 5 * time.Second

// spell is a time in which requests are refused.
type spell struct {
	active  atomic.Bool
	began   atomic.Int64
	last    atomic.Int64 // refusal
	refused atomic.Int64
}

// refuse notes a refusal, and reports whether it begins a spell.
func (s *spell) refuse(now time.Duration) (began bool) {
	s.last.Store(int64(now))
	s.refused.Add(1)
	if s.active.Load() || !s.active.CompareAndSwap(false, true) {
		return false
	}
	s.began.Store(int64(now))
	return true
}

// end reports a spell that is over, once.
func (s *spell) end(now time.Duration) (refused int64, lasted time.Duration, over bool) {
	last := time.Duration(s.last.Load())
	if !s.active.Load() || now-last < calm || !s.active.CompareAndSwap(true, false) {
		return 0, 0, false
	}
	return s.refused.Swap(0), last - time.Duration(s.began.Load()), true
}

// lasts reports whether there is a spell.
func (s *spell) lasts(now time.Duration) bool {
	return s.active.Load() && now-time.Duration(s.last.Load()) < calm
}
