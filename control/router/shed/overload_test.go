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

func normal() shed.Priority { return shed.Normal }

// goodput returns the share of the capacity that is answered in time at a multiple of the capacity.
func goodput(t *testing.T, slots int, service time.Duration, times float64, exponential bool, o *shed.Options) float64 {
	var share float64
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 1))
		s := newServer(t, slots, service, 10*service, o)
		if exponential {
			var mu sync.Mutex
			s.random = func() float64 { mu.Lock(); defer mu.Unlock(); return random.ExpFloat64() }
		}
		capacity := float64(slots) / service.Seconds()
		var wg sync.WaitGroup
		sender := rand.New(rand.NewPCG(2, 2))
		s.load(t, &wg, 0.5*capacity, 5*time.Second, sender, normal)
		s.load(t, &wg, times*capacity, 5*time.Second, sender, normal) // the onset
		s.reset()
		s.load(t, &wg, times*capacity, 20*time.Second, sender, normal)
		share = float64(total(&s.good)) / 20 / capacity
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
