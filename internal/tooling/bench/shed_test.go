package bench

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"

	"github.com/go-os/go-os/control/router/shed"
	"github.com/go-os/go-os/telemetry"
)

// admit asks a limiter for a place; done gives it back.
type admit func() (done func(), ok bool)

func ourAdmit(t *testing.T) admit {
	t.Helper()
	s, err := shed.New(&shed.Options{Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	return func() (func(), bool) {
		a, ok := s.Admit(context.Background(), shed.Normal)
		return func() { a.Done(shed.Success) }, ok
	}
}

func failsafeAdmit(*testing.T) admit {
	limiter := adaptivelimiter.NewWithDefaults[any]()
	return func() (func(), bool) {
		permit, ok := limiter.TryAcquirePermit()
		if !ok {
			return nil, false
		}
		return permit.Record, true
	}
}

// phase is a time of constant load.
type phase struct {
	rate    float64 // requests a second
	span    time.Duration
	service time.Duration
}

// play sends the phases to a server with this many slots, and returns the share of the last phase's requests that were answered within 200 ms,
// or of its capacity if that is less.
func play(t *testing.T, slots int, of func(*testing.T) admit, phases ...phase) (goodput float64) {
	synctest.Test(t, func(t *testing.T) {
		admit, places := of(t), make(chan struct{}, slots)
		random := rand.New(rand.NewPCG(1, 1))
		var wg sync.WaitGroup
		var good atomic.Int64
		for _, p := range phases {
			good.Store(0)
			for end := time.Now().Add(p.span); time.Now().Before(end); {
				time.Sleep(time.Duration(random.ExpFloat64() / p.rate * float64(time.Second)))
				work := time.Duration(random.ExpFloat64() * float64(p.service))
				wg.Go(func() {
					begin := time.Now()
					done, ok := admit()
					if !ok {
						return
					}
					places <- struct{}{}
					time.Sleep(work)
					<-places
					done()
					if time.Since(begin) < 200*time.Millisecond {
						good.Add(1)
					}
				})
			}
		}
		last := phases[len(phases)-1]
		most := min(last.rate, float64(slots)/last.service.Seconds()) * last.span.Seconds()
		goodput = float64(good.Load()) / most
		wg.Wait()
	})
	return goodput
}

// TestSheddingBesideFailsafe shows why the Shedder is our own: the same loads on both limiters, with their defaults.
func TestSheddingBesideFailsafe(t *testing.T) {
	const ms = time.Millisecond
	warm := phase{500, 20 * time.Second, 10 * ms}
	for _, c := range []struct {
		name   string
		slots  int
		phases []phase
	}{
		{"3x capacity, after 5 s", 10, []phase{warm, {3000, 5 * time.Second, 10 * ms}, {3000, 20 * time.Second, 10 * ms}}},
		{"3x capacity, after 2 min", 10, []phase{warm, {3000, 2 * time.Minute, 10 * ms}, {3000, 20 * time.Second, 10 * ms}}},
		{"3x capacity from the start", 10, []phase{{3000, 10 * time.Second, 10 * ms}, {3000, 20 * time.Second, 10 * ms}}},
		{"load steps from 50 to 80 %", 100, []phase{{500, 20 * time.Second, 10 * ms}, {8000, 5 * time.Second, 10 * ms}}},
		{"work 5x slower, room for it", 1000, []phase{{2000, 20 * time.Second, 10 * ms}, {2000, 10 * time.Second, 50 * ms}}},
	} {
		ours, theirs := play(t, c.slots, ourAdmit, c.phases...), play(t, c.slots, failsafeAdmit, c.phases...)
		t.Logf("%-30s ours %.2f, failsafe-go %.2f", c.name, ours, theirs)
		if ours < 0.8 {
			t.Errorf("%s: goodput %.2f, want at least 0.8", c.name, ours)
		}
	}
}
