package router_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/control/router/statistics"
)

// TestFallbackWithTimeout sends the request to another service, although the time of the call limits the attempts.
func TestFallbackWithTimeout(t *testing.T) {
	for _, limit := range []time.Duration{0, time.Minute} {
		spare := discovery.Instance{Service: "spare", ID: "s", Addresses: map[string]string{"http": "10.0.1.1:80"}}
		r := newRouter(t, &router.Options{Policies: map[string]router.Policy{
			"orders": {Fallback: "spare", Timeout: limit, Retry: router.Retry{Attempts: 1}},
		}}, orders("a", "10.0.0.1:80"), spare)
		s := script{outcomes: []router.Outcome{{Kind: router.GatewayFault}, {}}}
		_, o := router.Do(context.Background(), r.Service("orders", "http"), router.Request{Idempotent: true}, s.send, nil)
		if o.Kind != router.Success {
			t.Errorf("timeout %v: attempts %v, %v: want the fallback", limit, s.ids, o.Kind)
		}
	}
}

// TestFallbackWithoutEndpoint returns the failure of the service if the fallback has no endpoint.
func TestFallbackWithoutEndpoint(t *testing.T) {
	r := newRouter(t, &router.Options{Policies: map[string]router.Policy{
		"orders": {Fallback: "spare", Retry: router.Retry{Attempts: 1}},
	}}, orders("a", "10.0.0.1:80"))
	broken := errors.New("connection reset")
	s := script{outcomes: []router.Outcome{{Kind: router.GatewayFault, Err: broken}}}
	_, o := router.Do(context.Background(), r.Service("orders", "http"), router.Request{Idempotent: true}, s.send, nil)
	if !errors.Is(o.Err, broken) {
		t.Errorf("%v %v: want the failure of orders", o.Kind, o.Err)
	}
}

// TestRejectedHedge waits for the first attempt if the client itself rejects the second one.
func TestRejectedHedge(t *testing.T) {
	policies := map[string]router.Policy{
		"concurrent": {Hedge: router.Hedge{After: 10 * time.Millisecond}, Limits: router.Limits{Concurrent: 1}},
		"endpoint":   {Hedge: router.Hedge{After: 10 * time.Millisecond}, Limits: router.Limits{EndpointRate: 0.001, EndpointBurst: 1}},
	}
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := service(t, policy, 2)
				if name == "endpoint" { // one of the two is used up
					p, _ := s.Pick(t.Context(), router.Request{})
					p.Done(router.Outcome{})
				}
				v, o := router.Do(t.Context(), s, router.Request{Idempotent: true, Hedgeable: true}, func(ctx context.Context, a *router.Attempt) (string, router.Outcome) {
					if _, err := a.Pick(ctx); err != nil {
						return "", router.Outcome{Kind: router.Neutral, Err: err, Final: true} // as oshttp and osgrpc do
					}
					select {
					case <-time.After(50 * time.Millisecond):
						return "answer", router.Outcome{}
					case <-ctx.Done():
						return "", router.Outcome{Kind: router.Neutral, Err: ctx.Err()}
					}
				}, nil)
				if v != "answer" || o.Kind != router.Success {
					t.Errorf("got %q, %v %v: want the answer of the first attempt", v, o.Kind, o.Err)
				}
			})
		})
	}
}

// TestPanicInSend leaves nothing in flight after a panic.
func TestPanicInSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{Limits: router.Limits{Concurrent: 1}}, 2)
		func() {
			defer func() { _ = recover() }()
			router.Do(t.Context(), s, router.Request{}, func(ctx context.Context, a *router.Attempt) (int, router.Outcome) {
				if _, err := a.Pick(ctx); err != nil {
					t.Fatal(err)
				}
				panic("no")
			}, nil)
		}()
		idle(t, s)
		if _, err := s.Pick(t.Context(), router.Request{}); err != nil {
			t.Errorf("the next pick: %v", err)
		}
	})
}

// TestLongPushback does not wait for an hour because a server asks for it.
func TestLongPushback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := script{outcomes: []router.Outcome{{Kind: router.Overload, Pushback: time.Hour}}}
		router.Do(t.Context(), service(t, router.Policy{}, 5), router.Request{Idempotent: true}, s.send, nil)
		if waited := time.Since(began); waited > time.Minute {
			t.Errorf("Do has waited for %v: retry.longest is 1 s or so", waited)
		}
	})
}

// TestAttemptTimeoutError returns a deadline, not a cancellation: the caller has not cancelled.
func TestAttemptTimeoutError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{Retry: router.Retry{Timeout: time.Second}}, 3)
		_, o := router.Do(t.Context(), s, router.Request{}, func(ctx context.Context, a *router.Attempt) (int, router.Outcome) {
			if _, err := a.Pick(ctx); err != nil {
				t.Fatal(err)
			}
			<-ctx.Done()
			return 1, router.FromHTTP(nil, ctx.Err())
		}, nil)
		if errors.Is(o.Err, context.Canceled) || !errors.Is(o.Err, context.DeadlineExceeded) {
			t.Errorf("%v %v: the caller has not cancelled", o.Kind, o.Err)
		}
	})
}

// TestSlowDrop does not wait for the end of an attempt that has lost.
func TestSlowDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{Hedge: router.Hedge{After: 10 * time.Millisecond}}, 2)
		began := time.Now()
		v, o := router.Do(t.Context(), s, router.Request{Idempotent: true, Hedgeable: true}, func(ctx context.Context, a *router.Attempt) (int, router.Outcome) {
			if _, err := a.Pick(ctx); err != nil {
				t.Error(err)
			}
			if a.Number() == 1 {
				time.Sleep(20 * time.Millisecond)
				return 1, router.Outcome{Kind: router.GatewayFault, Open: true}
			}
			time.Sleep(20 * time.Millisecond)
			return 2, router.Outcome{}
		}, func(int) { time.Sleep(10 * time.Second) })
		if took := time.Since(began); took > time.Second {
			t.Errorf("attempt %d, %v after %v: the answer was there after 30 ms", v, o.Kind, took)
		}
		time.Sleep(time.Minute) // the drop ends
	})
}

// TestExit panics in the caller if an attempt has ended its goroutine: there is no outcome.
func TestExit(t *testing.T) {
	s := service(t, router.Policy{Hedge: router.Hedge{After: time.Hour}}, 2)
	defer func() {
		if recover() == nil {
			t.Error("Do has returned although the attempt has not")
		}
		idle(t, s)
	}()
	router.Do(t.Context(), s, router.Request{Idempotent: true, Hedgeable: true}, func(ctx context.Context, a *router.Attempt) (int, router.Outcome) {
		if _, err := a.Pick(ctx); err != nil {
			t.Error(err)
		}
		runtime.Goexit()
		return 0, router.Outcome{}
	}, nil)
}

// TestPickAgainCounts counts a request that picks again once.
func TestPickAgainCounts(t *testing.T) {
	out := &publisher{}
	collector, err := statistics.NewCollector(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := newRouter(t, &router.Options{Statistics: collector}, orders("a", "10.0.0.1:80"))
	s := r.Service("orders", "http")
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	endpoints, _ := s.Endpoints()
	x := s.Among(endpoints)
	_, o := router.Do(t.Context(), s, router.Request{}, func(ctx context.Context, a *router.Attempt) (int, router.Outcome) {
		for range 3 { // a lost connection twice, then an answer
			if _, err := a.PickAmong(x); err != nil {
				t.Error(err)
			}
		}
		return 0, router.Outcome{}
	}, nil)
	if err := collector.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	routed, unrouted, dropped := out.sum()
	if unrouted != 0 {
		t.Errorf("%v: %d routed, %d unrouted, %d dropped at the endpoint: want no unrouted request", o.Kind, routed, unrouted, dropped)
	}
}

// TestBudgetOfRejected grants no retries for requests that were not sent.
func TestBudgetOfRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{Limits: router.Limits{Rate: 10, Burst: 10}, Retry: router.Retry{MinPerSecond: 0.001}, Ejection: router.Ejection{Off: true}}, 5)
		sent, retries := 0, 0
		for range 1000 { // 100 a second, of which 10 are within the limit
			router.Do(t.Context(), s, router.Request{}, func(ctx context.Context, a *router.Attempt) (int, router.Outcome) {
				if _, err := a.Pick(ctx); err != nil {
					return 0, router.Outcome{Kind: router.Neutral, Err: err, Final: true}
				}
				if a.Number() > 1 {
					retries++
				} else {
					sent++
				}
				return 0, router.Outcome{Kind: router.GatewayFault, Unsent: true}
			}, nil)
			time.Sleep(10 * time.Millisecond)
		}
		if float64(retries) > 0.3*float64(sent) {
			t.Errorf("%d retries of %d sent requests: the ratio is 0.2", retries, sent)
		}
	})
}

// TestCancelAnywhere leaves nothing in flight, wherever a call ends.
func TestCancelAnywhere(t *testing.T) {
	seeds := 300
	if raceEnabled {
		seeds = 50
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(uint64(seed), 1))
			p := router.Policy{
				Timeout: 40 * time.Millisecond, Retry: router.Retry{Timeout: 15 * time.Millisecond, Wait: time.Millisecond},
				Hedge: router.Hedge{After: 5 * time.Millisecond}, Limits: router.Limits{Concurrent: 3, EndpointConcurrent: 2},
				Breaker: router.Breaker{Ratio: 0.9, MinRequests: 10, Open: 5 * time.Millisecond}, EndpointBreaker: router.Breaker{MinRequests: 3, Open: 5 * time.Millisecond},
				Throttle: router.Throttle{K: 1.5},
			}
			s := service(t, p, 3)
			var wg sync.WaitGroup
			var mu sync.Mutex
			roll := func(n int) int { mu.Lock(); defer mu.Unlock(); return rnd.IntN(n) }
			for range 8 {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(roll(60))*time.Millisecond)
					defer cancel()
					attempts := map[int]*router.Attempt{}
					n, o := router.Do(ctx, s, router.Request{Idempotent: true, Hedgeable: roll(2) == 0}, func(ctx context.Context, a *router.Attempt) (int, router.Outcome) {
						pick, err := a.Pick(ctx)
						if err != nil {
							return 0, router.Outcome{Kind: router.Neutral, Err: err, Final: roll(2) == 0}
						}
						if roll(3) == 0 {
							time.Sleep(time.Duration(roll(10)) * time.Millisecond)
							pick.Answered()
						}
						select {
						case <-time.After(time.Duration(roll(30)) * time.Millisecond):
						case <-ctx.Done():
							return 0, router.FromHTTP(nil, ctx.Err())
						}
						mu.Lock()
						attempts[a.Number()] = a
						mu.Unlock()
						return a.Number(), router.Outcome{Kind: router.Kind(roll(6)), Open: roll(2) == 0, Unsent: roll(4) == 0}
					}, func(int) { time.Sleep(time.Millisecond) })
					if o.Open {
						time.Sleep(time.Duration(roll(5)) * time.Millisecond)
						mu.Lock()
						a := attempts[n]
						mu.Unlock()
						a.Done(o)
					}
				})
			}
			wg.Wait()
			time.Sleep(time.Second)
			st := s.Status()
			for _, e := range st.Endpoints {
				if e.InFlight != 0 || st.InFlight != 0 {
					t.Errorf("seed %d: %d in flight at %s", seed, e.InFlight, e.ID)
				}
			}
		})
	}
}

// TestCancelledRetryCostsNothing gives back the budget of retries that are cancelled in their wait.
func TestCancelledRetryCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{Retry: router.Retry{MinPerSecond: 1}, Ejection: router.Ejection{Off: true}}, 3)
		before := s.Status().RetryBudget
		for range 8 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			attempts := script{outcomes: []router.Outcome{{Kind: router.GatewayFault}}}
			router.Do(ctx, s, router.Request{Idempotent: true}, attempts.send, nil)
			cancel()
			if len(attempts.ids) > 1 {
				before-- // the wait was shorter than the time
			}
		}
		if after := s.Status().RetryBudget; after < before {
			t.Errorf("the budget has %v, want at least %v", after, before)
		}
	})
}

// TestImpossibleDeadlines does not blame the service for callers that wait for less than it takes.
func TestImpossibleDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{Breaker: router.Breaker{Ratio: 0.5}}, 3)
		for range 150 {
			p, err := s.Pick(t.Context(), router.Request{})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
			p.Done(router.Outcome{})
		}
		for range 1000 {
			p, err := s.Pick(t.Context(), router.Request{})
			if err != nil {
				t.Fatalf("pick: %v: short deadlines have opened the breaker", err)
			}
			time.Sleep(time.Millisecond)
			p.Done(router.Outcome{Kind: router.Timeout})
		}
	})
}
