package shed

import (
	"math"
	"sync/atomic"
)

// shares is which part of each priority is admitted. While requests are refused, the throughput is given to the priorities from the top: one
// that fits is admitted whole, the next in part, the others not at all.
type shares [levels]atomic.Uint32 // of whole

const whole = math.MaxUint32

// slack is how much more than the throughput is admitted, so that it can rise.
const slack = 1.1

func (s *shares) reset() {
	for level := range s {
		s[level].Store(whole)
	}
}

// divide gives out the throughput of a window.
func (s *shares) divide(finished float64, offered [levels]float64) {
	left := slack*finished + 1
	for level := levels - 1; level >= 0; level-- {
		share := 1.0
		if offered[level] > left {
			share = left / offered[level]
		}
		left -= share * offered[level]
		s[level].Store(uint32(share * whole))
	}
}

// admit draws whether a request belongs to the admitted part of its priority.
func (s *shares) admit(level int, random uint32) bool {
	share := s[level].Load()
	return share == whole || random < share
}
