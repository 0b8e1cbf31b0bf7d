package shed

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// latencies is a histogram with buckets of equal width in logarithm: eight for each doubling, from 1 µs to 2 min.
type latencies [octaves * perOctave]atomic.Uint32

const (
	perOctave   = 8
	firstOctave = 10 // 2^10 ns
	octaves     = 27
)

func (l *latencies) add(d time.Duration) { l[bucketOf(d)].Add(1) }

func bucketOf(d time.Duration) int {
	ns := uint64(max(d, 1<<firstOctave))
	octave := bits.Len64(ns) - 1
	part := ns >> (octave - 3) & (perOctave - 1)
	return min((octave-firstOctave)*perOctave+int(part), octaves*perOctave-1)
}

// center returns the middle of a bucket in seconds.
func center(bucket int) float64 {
	octave, part := bucket/perOctave, bucket%perOctave
	return math.Ldexp(1+(float64(part)+0.5)/perOctave, octave+firstOctave) / 1e9
}

// take empties the histogram and returns the typical latency in seconds: the geometric mean of the middle half. A quarter of the requests
// may be arbitrarily slow, such as those that wait for a dead dependency. Unlike the median, it does not jump between the two modes of a
// cache that hits or misses. 0 means that there is none.
func (l *latencies) take() (typical float64) {
	var counts [len(l)]float64
	var all float64
	for i := range l {
		counts[i] = float64(l[i].Swap(0))
		all += counts[i]
	}
	if all == 0 {
		return 0
	}
	var before, sum float64
	for i, n := range counts {
		if n == 0 {
			continue
		}
		inside := min(before+n, 0.75*all) - max(before, 0.25*all)
		sum += max(inside, 0) * math.Log(center(i))
		before += n
	}
	return math.Exp(sum / (0.5 * all))
}
