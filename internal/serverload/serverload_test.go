package serverload

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// at runs a request of some duration that begins with others in flight.
func at(l *Load, others int, took time.Duration) {
	held := make([]Request, others)
	for i := range held {
		held[i] = l.Begin()
	}
	r := l.Begin()
	time.Sleep(took)
	r.End()
	for _, h := range held {
		h.Leave()
	}
}

// hold begins requests that stay in flight.
func hold(l *Load, n int) {
	for range n {
		l.Begin()
	}
}

func reports(t *testing.T, l *Load, inFlight int, latency time.Duration) {
	t.Helper()
	if got, want := l.Report(), (Report{inFlight, latency}); got != want {
		t.Errorf("report is %v, want %v", got, want)
	}
}

func TestInFlight(t *testing.T) {
	l := New()
	a, b := l.Begin(), l.Begin()
	if n := l.InFlight(); n != 2 {
		t.Errorf("%d in flight, want 2", n)
	}
	if r := l.ReportBeside(1); r.InFlight != 1 {
		t.Errorf("%d in flight beside one, want 1", r.InFlight)
	}
	if r := l.ReportBeside(5); r.InFlight != 0 {
		t.Errorf("%d in flight beside more than there are, want 0", r.InFlight)
	}
	a.End()
	b.Leave()
	if n := l.InFlight(); n != 0 {
		t.Errorf("%d in flight after all have ended, want 0", n)
	}
}

func TestNilLoad(t *testing.T) {
	var l *Load
	l.Begin().End()
	l.Begin().Leave()
	if got := l.Report(); got != (Report{}) || l.InFlight() != 0 {
		t.Errorf("a nil Load reports %v", got)
	}
}

func TestUnknownLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New()
		r := l.Begin()
		time.Sleep(time.Second)
		r.Leave()
		reports(t, l, 0, 0)
	})
}

func TestMedianOfRecent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New()
		for _, ms := range []int{900, 5, 7, 6, 4} { // one outlier moves no median
			at(l, 0, time.Duration(ms)*time.Millisecond)
		}
		reports(t, l, 0, 6*time.Millisecond)
		for range samplesPerLevel { // the last samples replace the earlier ones
			at(l, 0, 20*time.Millisecond)
		}
		reports(t, l, 0, 20*time.Millisecond)
	})
}

func TestSamplesAgeAgainstTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New()
		for range 10 {
			at(l, 0, 800*time.Millisecond)
		}
		time.Sleep(Window + time.Second)
		for range enough {
			at(l, 0, 10*time.Millisecond)
		}
		reports(t, l, 0, 10*time.Millisecond)
	})
}

func TestLatencyOfTheLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New()
		for range enough {
			at(l, 0, 10*time.Millisecond)
			at(l, 8, 90*time.Millisecond)
			at(l, 100, 400*time.Millisecond)
		}
		reports(t, l, 0, 10*time.Millisecond)
		hold(l, 8) // no slow request has ended yet
		reports(t, l, 8, 90*time.Millisecond)
		hold(l, 97) // 105 is about as many as 100
		reports(t, l, 105, 400*time.Millisecond)
	})
}

func TestNearestLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New()
		for range enough {
			at(l, 2, 20*time.Millisecond)
			at(l, 12, 120*time.Millisecond)
		}
		hold(l, 4)
		reports(t, l, 4, 20*time.Millisecond)
		hold(l, 6)
		reports(t, l, 10, 120*time.Millisecond)
	})
}

func TestIdleServerRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New()
		for range enough {
			at(l, 0, 160*time.Millisecond)
		}
		time.Sleep(Window / 2)
		reports(t, l, 0, 160*time.Millisecond)
		time.Sleep(Window)
		reports(t, l, 0, 80*time.Millisecond)
		time.Sleep(3 * Window)
		reports(t, l, 0, 10*time.Millisecond)
		time.Sleep(1000 * Window)
		reports(t, l, 0, 0)
	})
}

func TestLevels(t *testing.T) {
	for n := range int64(exactLevels) {
		if got := levelOf(n); got != int(n) {
			t.Fatalf("%d in flight is level %d, want a level of its own", n, got)
		}
	}
	if levelOf(-3) != 0 || levelOf(1<<40) != levels-1 {
		t.Error("numbers out of range are not in the first and the last level")
	}
	start := int64(exactLevels)
	for n := start; n < 1<<16; n++ {
		switch step := levelOf(n) - levelOf(n-1); {
		case step == 1:
			start = n
		case step != 0:
			t.Fatalf("from %d to %d in flight the level grows by %d, want 0 or 1", n-1, n, step)
		case float64(n) >= 1.25*float64(start):
			t.Fatalf("%d and %d in flight share a level, want at most a quarter of difference", start, n)
		}
	}
	if got := levelOf(1<<16 - 1); got != levels-1 {
		t.Errorf("65,535 in flight is level %d, want %d", got, levels-1)
	}
}

// TestTicksWrap checks that a server that runs for years keeps recent samples.
func TestTicksWrap(t *testing.T) {
	l := New()
	now := time.Duration(1<<32-2) << tickShift
	for range 10 {
		now += 1 << tickShift
		l.record(0, now, 30*time.Millisecond)
	}
	if got := l.estimate(0, now); got != 30*time.Millisecond {
		t.Errorf("estimate is %v, want 30ms", got)
	}
}

// TestLateSample checks that a request that ends out of order still counts.
func TestLateSample(t *testing.T) {
	l, now := New(), time.Minute
	l.record(0, now, 30*time.Millisecond)
	l.record(0, now-1<<tickShift, 10*time.Millisecond)
	if got := l.estimate(0, now); got != 30*time.Millisecond {
		t.Errorf("estimate is %v, want 30ms: the upper one of two", got)
	}
}

func TestSampleStaysInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New()
		r := l.Begin()
		time.Sleep(3 * time.Millisecond)
		r.Sample()
		reports(t, l, 1, 3*time.Millisecond)
		time.Sleep(time.Hour)
		r.Leave()
		if n := l.InFlight(); n != 0 {
			t.Errorf("%d in flight, want 0", n)
		}
	})
}

func TestConcurrentRequests(t *testing.T) {
	l := New()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5000 {
				r := l.Begin()
				if r.level < 0 || r.level > 7 {
					t.Errorf("level is %d, want one of at most 8 requests", r.level)
				}
				l.Report()
				if rand.IntN(2) == 0 {
					r.End()
				} else {
					r.Leave()
				}
			}
		})
	}
	all.Wait()
	if n := l.InFlight(); n != 0 {
		t.Errorf("%d in flight, want 0", n)
	}
	if l.Report().Latency == 0 {
		t.Error("no latency after samples")
	}
}

func TestLoadAllocatesNothing(t *testing.T) {
	l := New()
	if n := testing.AllocsPerRun(1000, func() { l.Begin().End(); l.Report() }); n != 0 {
		t.Errorf("%v allocations a request, want none", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	l := New()
	b.ReportAllocs()
	for b.Loop() {
		l.Begin().End()
	}
}

func BenchmarkRequestParallel(b *testing.B) {
	l := New()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Begin().End()
		}
	})
}

func BenchmarkReport(b *testing.B) {
	for _, samples := range []int{0, 3, samplesPerLevel} {
		b.Run(strconv.Itoa(samples), func(b *testing.B) {
			l := New()
			for range samples {
				l.record(0, time.Second, time.Duration(rand.IntN(1e9)))
			}
			b.ReportAllocs()
			for b.Loop() {
				l.Report()
			}
		})
	}
}
