package shed

import (
	"math"
	"testing"
	"time"
)

func TestLatenciesBuckets(t *testing.T) {
	for d := 1024 * time.Nanosecond; d < time.Minute; d = d*21/20 + 1 {
		if got := center(bucketOf(d)); math.Abs(got/d.Seconds()-1) > 0.07 {
			t.Fatalf("%v falls into the bucket around %vs", d, got)
		}
	}
	for _, d := range []time.Duration{-1, 0, 1, time.Hour, math.MaxInt64} {
		if b := bucketOf(d); b < 0 || b >= octaves*perOctave {
			t.Errorf("%v falls into bucket %d", d, b)
		}
	}
}

func TestTypicalLatency(t *testing.T) {
	typical := func(all ...time.Duration) float64 {
		var l latencies
		for _, d := range all {
			l.add(d)
		}
		got := l.take()
		if l.take() != 0 {
			t.Error("the histogram is not empty after take")
		}
		return got * 1000
	}
	fast, slow := 10*time.Millisecond, time.Second
	for _, c := range []struct {
		latencies []time.Duration
		want      float64 // ms
	}{
		{[]time.Duration{fast}, 10},
		{[]time.Duration{fast, fast, fast, fast}, 10},
		{[]time.Duration{fast, fast, fast, slow}, 10},   // a quarter may be slow
		{[]time.Duration{fast, slow, slow, slow}, 1000}, // or fast
		{[]time.Duration{fast, fast, slow, slow}, 100},  // no jump between modes
	} {
		if got := typical(c.latencies...); math.Abs(got/c.want-1) > 0.07 {
			t.Errorf("%v: %v ms, want about %v", c.latencies, got, c.want)
		}
	}
}
