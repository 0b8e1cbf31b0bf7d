package balance

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

func TestDoneCountsOnce(t *testing.T) {
	e := NewEndpoint(0)
	first := e.Begin(0, false)
	if latency, ok := first.Done(time.Second, Success); !ok || latency != time.Second {
		t.Fatalf("first Done = %v, %v, want 1s, true", latency, ok)
	}
	second := e.Begin(time.Second, false) // takes the slot of the first
	if _, ok := first.Done(2*time.Second, Fault); ok {
		t.Error("second Done of one ticket = true, want false")
	}
	first.Answered(2 * time.Second)
	if e.InFlight() != 1 || e.Oldest(3*time.Second) != 2*time.Second || e.Failures(0) != 0 {
		t.Errorf("the old ticket changed the new request: %d in flight, oldest %v", e.InFlight(), e.Oldest(3*time.Second))
	}
	if _, ok := second.Done(2*time.Second, Success); !ok || e.InFlight() != 0 {
		t.Errorf("Done of the second ticket = %v, %d in flight, want true, 0", ok, e.InFlight())
	}
	if _, ok := (Ticket{}).Done(0, Success); ok {
		t.Error("Done of the zero Ticket = true, want false")
	}
	Ticket{}.Answered(0)
}

func TestOldestIsTheOldestWithoutAnAnswer(t *testing.T) {
	e := NewEndpoint(0)
	stream := e.Begin(0, true)
	first, second, third := e.Begin(time.Second, false), e.Begin(2*time.Second, false), e.Begin(3*time.Second, false)
	now := 10 * time.Second
	want := func(age time.Duration, inFlight int) {
		t.Helper()
		if e.Oldest(now) != age || e.InFlight() != inFlight {
			t.Errorf("oldest %v, %d in flight, want %v, %d", e.Oldest(now), e.InFlight(), age, inFlight)
		}
	}
	want(9*time.Second, 4)
	second.Done(now, Success)
	want(9*time.Second, 3)
	first.Answered(now)
	want(7*time.Second, 3)
	third.Done(now, Success)
	want(0, 2)
	first.Done(now, Success)
	stream.Done(now, Success)
	want(0, 0)
}

func TestOutcomesTeach(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		outcome  Outcome
		stream   bool
		latency  time.Duration
		failures float64
	}{
		{Success, false, 300 * ms, 0},
		{Fault, false, 100 * ms, 0.25},
		{Overload, false, 100 * ms, 0.25},
		{Timeout, false, 300 * ms, 0.25},
		{Neutral, false, 100 * ms, 0},
		{Success, true, 100 * ms, 0},
		{Timeout, true, 100 * ms, 0.25},
		{Neutral, true, 100 * ms, 0},
	} {
		e := NewEndpoint(0)
		e.Begin(0, false).Done(100*ms, Success)
		e.Begin(100*ms, test.stream).Done(400*ms, test.outcome)
		if got := e.Latency(400 * ms).Round(10 * ms); got != test.latency {
			t.Errorf("%v, stream %t: latency %v, want %v", test.outcome, test.stream, got, test.latency)
		}
		if sampled := e.latencyAt.Load() == int64(400*ms); sampled != (test.latency != 100*ms) {
			t.Errorf("%v, stream %t: a sample of latency: %t", test.outcome, test.stream, sampled)
		}
		if got := e.Failures(400 * ms); got != test.failures {
			t.Errorf("%v, stream %t: failures %v, want %v", test.outcome, test.stream, got, test.failures)
		}
	}
}

// A fast first byte lowers the estimate only if the request succeeds.
func TestFastErrorDoesNotLowerLatency(t *testing.T) {
	for _, test := range []struct {
		outcome Outcome
		lower   bool
	}{{Success, true}, {Fault, false}, {Neutral, false}} {
		e := NewEndpoint(0)
		e.Begin(0, false).Done(time.Second, Success)
		ticket := e.Begin(20*time.Second, false)
		ticket.Answered(20*time.Second + time.Millisecond)
		ticket.Done(21*time.Second, test.outcome)
		e.decay.Store(int64(time.Hour)) // what follows is not about idle decay
		if got := e.Latency(21 * time.Second); (got < 500*time.Millisecond) != test.lower {
			t.Errorf("%v: latency %v, want lowered: %t", test.outcome, got, test.lower)
		}
	}
}

func TestAnsweredGivesTheTimeToTheFirstByte(t *testing.T) {
	e := NewEndpoint(0)
	ticket := e.Begin(0, false)
	ticket.Answered(time.Millisecond)
	if got := e.Latency(time.Millisecond); got != time.Millisecond {
		t.Errorf("after the first byte: latency %v, want 1ms", got)
	}
	if latency, _ := ticket.Done(time.Minute, Success); latency != time.Millisecond {
		t.Errorf("Done = %v, want the 1ms to the first byte", latency)
	}
}

func TestMillionOutcomesLeaveNothingInFlight(t *testing.T) {
	b := New(Config{})
	s := NewSet(endpoints(20), nil)
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 1))
			open := make([]Ticket, 50)
			now := time.Duration(0)
			for n := range 125_000 {
				now += time.Duration(random.IntN(int(time.Millisecond)))
				slot := &open[random.IntN(len(open))]
				if random.IntN(3) == 0 {
					slot.Answered(now)
				}
				slot.Done(now, Outcome(random.IntN(int(Neutral)+1)))
				if n%7 == 0 {
					slot.Done(now, Success)
				}
				i, _ := b.Pick(now, s, Key{}, nil)
				*slot = s.At(i).Begin(now, random.IntN(10) == 0)
			}
			for _, ticket := range open {
				ticket.Done(now, Neutral)
			}
		})
	}
	group.Wait()
	for i := range s.Len() {
		if e := s.At(i); e.InFlight() != 0 || e.oldest.Load() != none || e.open.first != -1 {
			t.Errorf("endpoint %d: %d in flight, oldest %d, want nothing", i, e.InFlight(), e.oldest.Load())
		}
	}
}
