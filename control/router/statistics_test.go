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
	"github.com/go-os/go-os/control/router/statistics"
)

// publisher keeps the reports, after some failures.
type publisher struct {
	mu      sync.Mutex
	fails   int
	reports []statistics.Report
}

func (p *publisher) Publish(_ context.Context, r statistics.Report) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fails--; p.fails >= 0 {
		return errors.New("away")
	}
	p.reports = append(p.reports, r)
	return nil
}

// sum returns how many requests had a verdict, how many got no endpoint, and how many had an endpoint and no verdict.
func (p *publisher) sum() (routed, unrouted, dropped uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.reports {
		for _, m := range r.Unrouted {
			unrouted += m.Dropped
		}
		for _, e := range r.Endpoints {
			for _, m := range e.Methods {
				routed += m.Success + m.Error
				dropped += m.Dropped
			}
		}
	}
	return routed, unrouted, dropped
}

// TestStatistics publishes each request once, although the publisher fails at first.
func TestStatistics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{fails: 2}
		collector, err := statistics.NewCollector(p, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := newRouter(t, &router.Options{
			Statistics: collector, Policies: map[string]router.Policy{"orders": {Limits: router.Limits{Concurrent: 2}}},
		}, orders("a", "10.0.0.1:80"))
		s := r.Service("orders", "http")
		for _, kind := range []router.Kind{router.Success, router.Success, router.Fault, router.Timeout, router.Overload, router.Neutral} {
			pick, err := s.Pick(t.Context(), router.Request{Method: "/orders/{id}"})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
			pick.Done(router.Outcome{Kind: kind})
		}
		first, _ := s.Pick(t.Context(), router.Request{})
		second, _ := s.Pick(t.Context(), router.Request{})
		if _, err := s.Pick(t.Context(), router.Request{Method: "/orders/{id}"}); !errors.Is(err, router.ErrLimited) {
			t.Fatalf("third pick: %v, want ErrLimited", err)
		}
		first.Done(router.Outcome{})
		second.Done(router.Outcome{})
		time.Sleep(5 * time.Minute)
		if err := collector.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		total := statistics.MethodReport{}
		var dropped uint64
		for _, report := range p.reports {
			for _, e := range report.Endpoints {
				for _, m := range e.Methods {
					if m.Method == "/orders/{id}" {
						total.Merge(&m)
					}
				}
			}
			for _, m := range report.Unrouted {
				dropped += m.Dropped
			}
		}
		if total.Success != 2 || total.Error != 3 || total.Timeout != 1 || total.Overload != 1 || total.Dropped != 1 || dropped != 1 {
			t.Errorf("counted %+v and %d without an endpoint", total, dropped)
		}
		if median := total.Latency.Quantile(0.5); median < 90*time.Millisecond || median > 110*time.Millisecond {
			t.Errorf("median %v, want 100 ms", median)
		}
	})
}

// TestHedgeQuantile waits for the latency that few requests exceed, once enough are known.
func TestHedgeQuantile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{Hedge: router.Hedge{Quantile: 0.95}}, 3)
		var attempts atomic.Int64
		once := func(d time.Duration) {
			router.Do(t.Context(), s, router.Request{Idempotent: true, Hedgeable: true}, func(ctx context.Context, a *router.Attempt) (int, router.Outcome) {
				if _, err := a.Pick(ctx); err != nil {
					t.Error(err)
				}
				attempts.Add(1)
				select {
				case <-time.After(d):
				case <-ctx.Done():
				}
				return 0, router.Outcome{}
			}, nil)
		}
		once(time.Second)
		if attempts.Load() != 1 {
			t.Error("a hedge before anything is known")
		}
		for range 200 {
			once(10 * time.Millisecond)
		}
		attempts.Store(0)
		once(time.Second)
		if attempts.Load() != 2 {
			t.Error("no hedge for a request that takes far longer than most")
		}
		time.Sleep(2 * time.Second)
		idle(t, s)
	})
}

// TestNoTimeToRetry does not repeat a request with less time than the median of the service.
func TestNoTimeToRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{}, 3)
		for range 200 {
			p, err := s.Pick(t.Context(), router.Request{})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
			p.Done(router.Outcome{})
		}
		for left, want := range map[time.Duration]int{40 * time.Millisecond: 1, time.Second: 2} {
			ctx, cancel := context.WithTimeout(t.Context(), left)
			script := script{outcomes: []router.Outcome{{Kind: router.GatewayFault, Unsent: true}, {}}}
			router.Do(ctx, s, router.Request{Idempotent: true}, script.send, nil)
			cancel()
			if len(script.ids) != want {
				t.Errorf("%d attempts with %v left, want %d", len(script.ids), left, want)
			}
		}
	})
}
