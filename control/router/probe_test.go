package router_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/router"
)

// prober answers for endpoints by their ID, and counts.
type prober struct {
	mu     sync.Mutex
	loads  map[string]router.Load
	counts map[string]int
}

func (p *prober) Probe(_ context.Context, e *router.Endpoint) (router.Load, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[e.ID()]++
	if load, ok := p.loads[e.ID()]; ok {
		return load, nil
	}
	return router.Load{}, errors.ErrUnsupported
}

// TestProbes sends requests to the endpoint that reports the least load, and does not probe one that knows no probes again.
func TestProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{Balance: router.Balance{Algorithm: router.Prequal}}, 20)
		p := &prober{counts: map[string]int{}, loads: map[string]router.Load{}}
		for id := 'a'; id < 'a'+20; id++ {
			p.loads[string(id)] = router.Load{Known: true, InFlight: 1, Latency: time.Second}
		}
		p.loads["b"] = router.Load{Known: true, InFlight: 1, Latency: 10 * time.Millisecond}
		delete(p.loads, "d")
		s.SetProber(p)
		share(t, s, 100, "b")
		if got := share(t, s, 1000, "b"); got < 0.08 {
			t.Errorf("%v of the requests go to the fast endpoint, want far more than its share of 0.05", got)
		}
		synctest.Wait()
		if p.counts["d"] != 1 || p.counts["a"] < 10 {
			t.Errorf("probes: %v: want one at d, which refuses them, and many at a", p.counts)
		}
		probes := p.counts["a"]
		time.Sleep(time.Minute)
		if p.counts["a"] != probes {
			t.Error("probes without traffic")
		}
	})
}

// hanging is a prober that never answers in time.
type hanging struct{ probes, late *atomic.Int64 }

func (h hanging) Probe(ctx context.Context, _ *router.Endpoint) (router.Load, error) {
	began := time.Now()
	<-ctx.Done()
	h.probes.Add(1)
	if time.Since(began) > 100*time.Millisecond {
		h.late.Add(1)
	}
	return router.Load{}, ctx.Err()
}

// TestSlowProbes bounds the time and the number of probes, and Close ends them.
func TestSlowProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{Balance: router.Balance{Algorithm: router.Prequal}}, 4)
		var probes, late atomic.Int64
		s.SetProber(hanging{&probes, &late})
		share(t, s, 1, "a")
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if probes.Load() == 0 || late.Load() > 0 {
			t.Errorf("%d of %d probes took longer than 100 ms", late.Load(), probes.Load())
		}
		idle(t, s)
	})
}

// TestWarmUp probes an endpoint once that appears while the service is in use, and none before.
func TestWarmUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		r.set(record("a", 1), record("b", 1))
		s := follow(t, r, &router.Options{Policies: map[string]router.Policy{"*": {
			Balance: router.Balance{Algorithm: router.RoundRobin}, SlowStart: router.SlowStart{WarmUp: true},
		}}})
		p := &prober{counts: map[string]int{}, loads: map[string]router.Load{}}
		s.SetProber(p)
		share(t, s, 10, "a")
		r.set(record("a", 1), record("b", 1), record("c", 1))
		synctest.Wait()
		share(t, s, 10, "a")
		time.Sleep(time.Minute)
		share(t, s, 10, "a")
		synctest.Wait()
		if len(p.counts) != 1 || p.counts["c"] != 1 {
			t.Errorf("probes: %v, want one of c", p.counts)
		}
	})
}
