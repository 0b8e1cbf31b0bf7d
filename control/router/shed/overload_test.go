package shed_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/router/shed"
	"github.com/go-os/go-os/telemetry"
)

// server is simulated work: a number of requests are served at a time, the others wait. It runs in a synctest bubble.
type server struct {
	slots    chan struct{}
	service  atomic.Int64 // the mean service time
	deadline time.Duration
	shedder  *shed.Shedder // nil: everything is served

	random func() float64 // exponential; nil: the service time is constant

	good, late, refused [5]atomic.Int64
}

func newServer(t *testing.T, slots int, service, deadline time.Duration, o *shed.Options) *server {
	t.Helper()
	s := &server{slots: make(chan struct{}, slots), deadline: deadline}
	s.service.Store(int64(service))
	if o != nil {
		o.Telemetry = telemetry.Off()
		shedder, err := shed.New(o)
		if err != nil {
			t.Fatal(err)
		}
		s.shedder = shedder
	}
	return s
}

// serve serves one request. An answer after the deadline is worth nothing, but costs the same.
func (s *server) serve(t *testing.T, p shed.Priority) {
	begin := time.Now()
	level := p - shed.Sheddable
	var admission shed.Admission
	if s.shedder != nil {
		var ok bool
		if admission, ok = s.shedder.Admit(t.Context(), p); !ok {
			s.refused[level].Add(1)
			return
		}
	}
	s.slots <- struct{}{}
	time.Sleep(s.work())
	<-s.slots
	if time.Since(begin) > s.deadline {
		admission.Done(shed.Dropped)
		s.late[level].Add(1)
		return
	}
	admission.Done(shed.Success)
	s.good[level].Add(1)
}

func (s *server) work() time.Duration {
	mean := time.Duration(s.service.Load())
	if s.random == nil {
		return mean
	}
	return time.Duration(s.random() * float64(mean))
}

// load sends requests at a rate for a while, at random times, each with a priority that pick chooses.
func (s *server) load(t *testing.T, wg *sync.WaitGroup, rate float64, span time.Duration, random *rand.Rand, pick func() shed.Priority) {
	end := time.Now().Add(span)
	for time.Now().Before(end) {
		time.Sleep(time.Duration(random.ExpFloat64() / rate * float64(time.Second)))
		p := pick()
		wg.Go(func() { s.serve(t, p) })
	}
}

func (s *server) reset() {
	for level := range s.good {
		s.good[level].Store(0)
		s.late[level].Store(0)
		s.refused[level].Store(0)
	}
}

func total(counts *[5]atomic.Int64) (n int64) {
	for level := range counts {
		n += counts[level].Load()
	}
	return n
}

// exponentials returns a source of random numbers with mean 1 for many goroutines.
func exponentials(random *rand.Rand) func() float64 {
	var mu sync.Mutex
	return func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return random.ExpFloat64()
	}
}

func normal() shed.Priority { return shed.Normal }

// goodput returns the share of the capacity that is answered in time at a multiple of the capacity.
func goodput(t *testing.T, slots int, service time.Duration, times float64, exponential bool, o *shed.Options) float64 {
	var share float64
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 1))
		s := newServer(t, slots, service, 10*service, o)
		if exponential {
			s.random = exponentials(random)
		}
		capacity := float64(slots) / service.Seconds()
		var wg sync.WaitGroup
		sender := rand.New(rand.NewPCG(2, 2))
		s.load(t, &wg, 0.5*capacity, 3*time.Second, sender, normal)
		s.load(t, &wg, times*capacity, 3*time.Second, sender, normal) // the onset
		s.reset()
		s.load(t, &wg, times*capacity, 11*time.Second, sender, normal)
		share = float64(total(&s.good)) / 11 / capacity
		if s.shedder != nil {
			t.Logf("%d slots of %v at %.1fx: %.2f good, %d late, %+v", slots, service, times, share, total(&s.late), s.shedder.Status())
		}
		wg.Wait()
	})
	return share
}

func TestGoodputAtThreeTimesTheCapacity(t *testing.T) {
	for _, c := range []struct {
		slots       int
		service     time.Duration
		exponential bool
	}{
		{10, 10 * time.Millisecond, false},
		{10, 10 * time.Millisecond, true},
		{40, 50 * time.Millisecond, true},
		{2, 5 * time.Millisecond, true},
	} {
		if g := goodput(t, c.slots, c.service, 3, c.exponential, &shed.Options{}); g < 0.8 {
			t.Errorf("%+v: goodput is %.2f of the capacity, want at least 0.8", c, g)
		}
	}
}

// TestGoodputCollapsesWithoutShedding shows that the test above can fail.
func TestGoodputCollapsesWithoutShedding(t *testing.T) {
	if g := goodput(t, 10, 10*time.Millisecond, 3, false, nil); g > 0.1 {
		t.Errorf("goodput is %.2f of the capacity without shedding, want a collapse", g)
	}
}

// TestOverloadFromTheStart: the server has never been measured without a queue.
func TestOverloadFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 10, 10*time.Millisecond, 100*time.Millisecond, &shed.Options{InitialLimit: 1000})
		var wg sync.WaitGroup
		random := rand.New(rand.NewPCG(1, 1))
		s.load(t, &wg, 3000, 10*time.Second, random, normal)
		s.reset()
		s.load(t, &wg, 3000, 10*time.Second, random, normal)
		if good := total(&s.good); good < 8000 {
			t.Errorf("%d answers in time of a capacity of 10000, status %+v", good, s.shedder.Status())
		}
		wg.Wait()
	})
}

// TestSlowlyGrowingOverload: a queue that grows slowly must not become the new normal.
func TestSlowlyGrowingOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 10, 10*time.Millisecond, 100*time.Millisecond, &shed.Options{})
		var wg sync.WaitGroup
		random := rand.New(rand.NewPCG(1, 1))
		for rate := 900.0; rate < 1100; rate += 4 {
			s.load(t, &wg, rate, time.Second, random, normal)
		}
		s.reset()
		s.load(t, &wg, 1100, 11*time.Second, random, normal)
		if good := total(&s.good); good < 10_400 || total(&s.late) > 100 {
			t.Errorf("%d answers in time and %d late of a capacity of 11000, status %+v", good, total(&s.late), s.shedder.Status())
		}
		wg.Wait()
	})
}

func TestHighPriorityFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 20, 20*time.Millisecond, 200*time.Millisecond, &shed.Options{})
		var wg sync.WaitGroup
		random := rand.New(rand.NewPCG(1, 1))
		// Three times the capacity, a fifth of it each: critical and high make 1.2 times the capacity together.
		pick := func() shed.Priority { return shed.Priority(random.IntN(5)) + shed.Sheddable }
		s.load(t, &wg, 3000, 10*time.Second, random, pick)
		s.reset()
		s.load(t, &wg, 3000, 20*time.Second, random, pick)
		share := func(p shed.Priority) float64 {
			level := p - shed.Sheddable
			good := float64(s.good[level].Load())
			return good / (good + float64(s.late[level].Load()+s.refused[level].Load()))
		}
		t.Logf("served: critical %.3f, high %.3f, normal %.3f, low %.3f, sheddable %.3f; goodput %.2f", share(shed.Critical), share(shed.High),
			share(shed.Normal), share(shed.Low), share(shed.Sheddable), float64(total(&s.good))/20_000)
		if share(shed.Critical) < 0.96 { // a probe refuses some, each ten seconds
			t.Errorf("%.3f of the critical requests were served, want nearly all", share(shed.Critical))
		}
		if share(shed.High) < 0.5 || share(shed.High) > 0.85 {
			t.Errorf("%.3f of the high requests were served, want about two thirds: what critical ones leave", share(shed.High))
		}
		for p := shed.Sheddable; p <= shed.Normal; p++ {
			if share(p) > 0.1 {
				t.Errorf("%.3f of the %v requests were served, want next to none", share(p), p)
			}
		}
		if good := total(&s.good); good < 16_000 {
			t.Errorf("%d answers in time, want 80 %% of 20000", good)
		}
		wg.Wait()
	})
}

// TestLowPriorityAlone: a server that has only unimportant work does all that it can.
func TestLowPriorityAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 10, 10*time.Millisecond, 100*time.Millisecond, &shed.Options{})
		var wg sync.WaitGroup
		random := rand.New(rand.NewPCG(1, 1))
		low := func() shed.Priority { return shed.Sheddable }
		s.load(t, &wg, 3000, 5*time.Second, random, low)
		s.reset()
		s.load(t, &wg, 3000, 10*time.Second, random, low)
		if good := total(&s.good); good < 8000 {
			t.Errorf("%d answers in time of a capacity of 10000, status %+v", good, s.shedder.Status())
		}
		wg.Wait()
	})
}

// TestNeverRefusesWithoutContention: at up to 80 % of the capacity, nothing is refused, even as the load steps up and down.
func TestNeverRefusesWithoutContention(t *testing.T) {
	for name, exponential := range map[string]bool{"constant": false, "exponential": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, 50, 20*time.Millisecond, time.Second, &shed.Options{})
				if exponential {
					s.random = exponentials(rand.New(rand.NewPCG(3, 3)))
				}
				var wg sync.WaitGroup
				random := rand.New(rand.NewPCG(1, 1))
				for _, rate := range []float64{50, 2000, 10, 1000, 2000, 200} { // of 2500 a second
					s.load(t, &wg, rate, 7*time.Second, random, normal)
				}
				if refused := total(&s.refused); refused > 0 {
					t.Errorf("%d requests were refused below the capacity, status %+v", refused, s.shedder.Status())
				}
				wg.Wait()
			})
		})
	}
}

// TestBurstsFromIdle: bursts that the server can serve in time are served, the hundredth as well as the first.
func TestBurstsFromIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 20, 10*time.Millisecond, 100*time.Millisecond, &shed.Options{})
		var wg sync.WaitGroup
		for range 100 {
			for range 60 {
				wg.Go(func() { s.serve(t, shed.Normal) })
			}
			time.Sleep(time.Second)
		}
		wg.Wait()
		if good := total(&s.good); good < 5900 {
			t.Errorf("%d of 6000 requests in bursts were served, status %+v", good, s.shedder.Status())
		}
	})
}

// TestLatencyStep: the work itself gets slower and fast again. That is no overload: few requests are refused, and not for long.
func TestLatencyStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 1000, 10*time.Millisecond, time.Second, &shed.Options{})
		var wg sync.WaitGroup
		random := rand.New(rand.NewPCG(1, 1))
		s.load(t, &wg, 1000, 10*time.Second, random, normal)
		for _, step := range []time.Duration{100 * time.Millisecond, 10 * time.Millisecond, 300 * time.Millisecond} {
			s.reset()
			s.service.Store(int64(step))
			s.load(t, &wg, 1000, 10*time.Second, random, normal)
			t.Logf("%v: %d refused of 10000, status %+v", step, total(&s.refused), s.shedder.Status())
			if refused := total(&s.refused); refused > 1000 {
				t.Errorf("%v: %d of 10000 requests were refused although there was room, status %+v", step, refused, s.shedder.Status())
			}
			s.reset()
			s.load(t, &wg, 1000, 3*time.Second, random, normal)
			if refused := total(&s.refused); refused > 0 {
				t.Errorf("%v: %d requests were refused after ten seconds, status %+v", step, refused, s.shedder.Status())
			}
		}
		wg.Wait()
	})
}

// TestCapacityStep: the server loses four fifths of its slots under overload and gets them back.
func TestCapacityStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 20, 10*time.Millisecond, 100*time.Millisecond, &shed.Options{})
		var wg sync.WaitGroup
		random := rand.New(rand.NewPCG(1, 1))
		phase := func(slots int) {
			s.load(t, &wg, 4000, 5*time.Second, random, normal)
			s.reset()
			s.load(t, &wg, 4000, 5*time.Second, random, normal)
			capacity := int64(slots * 100 * 5)
			t.Logf("%d slots: %d in time of %d, status %+v", slots, total(&s.good), capacity, s.shedder.Status())
			if good := total(&s.good); good < capacity*8/10 {
				t.Errorf("%d slots: %d answers in time of a capacity of %d, status %+v", slots, good, capacity, s.shedder.Status())
			}
		}
		phase(20)
		for range 16 {
			s.slots <- struct{}{}
		}
		phase(4)
		for range 16 {
			<-s.slots
		}
		phase(20)
		wg.Wait()
	})
}

// TestSlowDependency: one request of ten waits for a dependency that does not answer, until its deadline. The others must not suffer.
func TestSlowDependency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 1, 0, 0, &shed.Options{})
		var wg sync.WaitGroup
		random := rand.New(rand.NewPCG(1, 1))
		send := func(span time.Duration, stuck bool) (refused, sent int64) {
			var n atomic.Int64
			for end := time.Now().Add(span); time.Now().Before(end); {
				time.Sleep(time.Duration(random.ExpFloat64() * float64(time.Millisecond)))
				sent++
				slow := stuck && random.IntN(10) == 0
				wg.Go(func() {
					a, ok := s.shedder.Admit(t.Context(), shed.Normal)
					switch {
					case !ok:
						n.Add(1)
					case slow:
						time.Sleep(5 * time.Second)
						a.Done(shed.Dropped)
					default:
						time.Sleep(10 * time.Millisecond)
						a.Done(shed.Success)
					}
				})
			}
			return n.Load(), sent
		}
		for _, stuck := range []bool{false, true, false, true} {
			refused, sent := send(15*time.Second, stuck)
			t.Logf("stuck %v: %d of %d refused, status %+v", stuck, refused, sent, s.shedder.Status())
			if float64(refused) > 0.05*float64(sent) {
				t.Errorf("stuck %v: %d of %d requests were refused, status %+v", stuck, refused, sent, s.shedder.Status())
			}
		}
		wg.Wait()
	})
}

// TestNoLockOutAtALimitOfOne: a server that can do one thing at a time is never locked, and recovers.
func TestNoLockOutAtALimitOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 1, 10*time.Millisecond, 100*time.Millisecond, &shed.Options{MinLimit: 1})
		var wg sync.WaitGroup
		random := rand.New(rand.NewPCG(1, 1))
		s.load(t, &wg, 1000, 10*time.Second, random, normal)
		s.reset()
		s.load(t, &wg, 1000, 10*time.Second, random, normal)
		if good := total(&s.good); good < 800 {
			t.Errorf("%d answers in time of a capacity of 1000, status %+v", good, s.shedder.Status())
		}
		wg.Wait()
		s.reset()
		for range 100 {
			s.serve(t, shed.Sheddable)
		}
		if good := total(&s.good); good != 100 {
			t.Errorf("%d of 100 single requests were served by an idle server, status %+v", good, s.shedder.Status())
		}
	})
}

// TestShortDeadlines: callers that wait for less than twice the latency get answers in time, too.
func TestShortDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 10, 10*time.Millisecond, 16*time.Millisecond, &shed.Options{})
		var wg sync.WaitGroup
		random := rand.New(rand.NewPCG(1, 1))
		s.load(t, &wg, 3000, 10*time.Second, random, normal)
		s.reset()
		s.load(t, &wg, 3000, 10*time.Second, random, normal)
		if good := total(&s.good); good < 8000 {
			t.Errorf("%d answers in time of a capacity of 10000, %d late, status %+v", good, total(&s.late), s.shedder.Status())
		}
		wg.Wait()
	})
}

// TestObserveEstimates: a Shedder that only observes finds about the same limit.
func TestObserveEstimates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 10, 10*time.Millisecond, 100*time.Millisecond, &shed.Options{Observe: true})
		var wg sync.WaitGroup
		random := rand.New(rand.NewPCG(1, 1))
		s.load(t, &wg, 500, 10*time.Second, random, normal)
		s.load(t, &wg, 3000, 2*time.Second, random, normal)
		st := s.shedder.Status()
		if st.Limit < 10 || st.Limit > 40 || st.Refused["normal"] < 1000 {
			t.Errorf("status %+v, want a limit of about 20 and more than 1000 that would be refused", st)
		}
		if refused := total(&s.refused); refused > 0 {
			t.Errorf("%d requests were refused", refused)
		}
		wg.Wait()
	})
}

// TestObserveLearnsSlowWork: without probes, a Shedder that observes takes longer to see that slow work is no overload, but it sees it.
func TestObserveLearnsSlowWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 1000, 10*time.Millisecond, time.Second, &shed.Options{Observe: true})
		var wg sync.WaitGroup
		random := rand.New(rand.NewPCG(1, 1))
		s.load(t, &wg, 1000, 5*time.Second, random, normal)
		s.service.Store(int64(60 * time.Millisecond))
		s.load(t, &wg, 1000, 40*time.Second, random, normal)
		before := s.shedder.Status()
		s.load(t, &wg, 1000, 5*time.Second, random, normal)
		if st := s.shedder.Status(); before.Refused["normal"] == 0 || st.Refused["normal"] != before.Refused["normal"] {
			t.Errorf("%d would have been refused in 40 s, and %d more later, status %+v", before.Refused["normal"], st.Refused["normal"]-before.Refused["normal"], st)
		}
		wg.Wait()
	})
}

// TestLoadEndsInAProbe: a limit that was lowered to look must not meet the next burst.
func TestLoadEndsInAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 20, 10*time.Millisecond, 100*time.Millisecond, &shed.Options{})
		var wg sync.WaitGroup
		random := rand.New(rand.NewPCG(1, 1))
		s.load(t, &wg, 6000, 5*time.Second, random, normal)
		full := s.shedder.Status().Limit
		for range 3000 { // one of them is in the probe that follows ten seconds after the last one
			if s.shedder.Status().Limit <= full/2 {
				break
			}
			s.load(t, &wg, 6000, 5*time.Millisecond, random, normal)
		}
		wg.Wait()
		lowered := s.shedder.Status().Limit
		if lowered > full/2 {
			t.Fatalf("no probe: the limit is %d, and was %d", lowered, full)
		}
		time.Sleep(time.Minute)
		s.reset()
		for range lowered + 10 {
			wg.Go(func() { s.serve(t, shed.Normal) })
		}
		wg.Wait()
		if refused := total(&s.refused); refused > 1 {
			t.Errorf("%d requests of a burst were refused at the limit of a probe, %d; it is %d by now", refused, lowered, s.shedder.Status().Limit)
		}
	})
}
