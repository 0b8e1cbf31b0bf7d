package router_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
)

// service returns "orders" with n endpoints, a to z.
func service(t testing.TB, policy router.Policy, n int) *router.Service {
	t.Helper()
	var instances []discovery.Instance
	for i := range n {
		instances = append(instances, orders(string(rune('a'+i)), fmt.Sprintf("10.0.0.%d:80", i+1)))
	}
	return newRouter(t, &router.Options{Policies: map[string]router.Policy{"orders": policy}}, instances...).Service("orders", "http")
}

// script is a send function that returns outcomes in turn, and records the endpoints that it was for.
type script struct {
	outcomes []router.Outcome
	ids      []string

	mu      sync.Mutex
	dropped []string
}

func (s *script) send(ctx context.Context, a *router.Attempt) (string, router.Outcome) {
	p, err := a.Pick(ctx)
	if err != nil {
		return "", router.Outcome{Kind: router.Neutral, Err: err, Final: true}
	}
	o := s.outcomes[min(len(s.ids), len(s.outcomes)-1)]
	s.ids = append(s.ids, p.Endpoint().ID())
	return fmt.Sprintf("answer %d", a.Number()), o
}

func (s *script) drop(v string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped = append(s.dropped, v)
}

// TestRetries lists what is repeated, and what is not.
func TestRetries(t *testing.T) {
	gone := errors.New("gone")
	fails := func(o router.Outcome) []router.Outcome { return []router.Outcome{o, {}} }
	tests := []struct {
		name     string
		policy   router.Policy
		request  router.Request
		outcomes []router.Outcome
		want     int // attempts
	}{
		{"a success", router.Policy{}, router.Request{Idempotent: true}, fails(router.Outcome{}), 1},
		{"a fault of the path", router.Policy{}, router.Request{Idempotent: true}, fails(router.Outcome{Kind: router.GatewayFault}), 2},
		{"a timeout", router.Policy{}, router.Request{Idempotent: true}, fails(router.Outcome{Kind: router.Timeout}), 2},
		{"an overload", router.Policy{}, router.Request{Idempotent: true}, fails(router.Outcome{Kind: router.Overload}), 2},
		{"a fault of the server", router.Policy{}, router.Request{Idempotent: true}, fails(router.Outcome{Kind: router.Fault}), 1},
		{"a cancelled request", router.Policy{}, router.Request{Idempotent: true}, fails(router.Outcome{Kind: router.Neutral}), 1},
		{"not idempotent", router.Policy{}, router.Request{}, fails(router.Outcome{Kind: router.GatewayFault, Err: gone}), 1},
		{"not sent", router.Policy{}, router.Request{}, fails(router.Outcome{Kind: router.GatewayFault, Err: gone, Unsent: true}), 2},
		{"the body was read", router.Policy{}, router.Request{Idempotent: true}, fails(router.Outcome{Kind: router.GatewayFault, Final: true}), 1},
		{"a stream", router.Policy{}, router.Request{Idempotent: true, Stream: true}, fails(router.Outcome{Kind: router.GatewayFault}), 1},
		{"forbidden by the server", router.Policy{}, router.Request{Idempotent: true}, fails(router.Outcome{Kind: router.Overload, Pushback: -1}), 1},
		{"three at most", router.Policy{}, router.Request{Idempotent: true}, []router.Outcome{{Kind: router.GatewayFault}}, 3},
		{"turned off", router.Policy{Retry: router.Retry{Attempts: 1}}, router.Request{Idempotent: true}, fails(router.Outcome{Kind: router.GatewayFault}), 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := script{outcomes: tt.outcomes}
				router.Do(t.Context(), service(t, tt.policy, 5), tt.request, s.send, s.drop)
				synctest.Wait()
				if len(s.ids) != tt.want {
					t.Errorf("%d attempts, want %d", len(s.ids), tt.want)
				}
				if sorted := slices.Compact(slices.Sorted(slices.Values(s.ids))); len(sorted) != len(s.ids) {
					t.Errorf("attempts went to %v: want different endpoints", s.ids)
				}
				if len(s.dropped) != len(s.ids)-1 {
					t.Errorf("dropped %v of %d values: want all but the last", s.dropped, len(s.ids))
				}
			})
		})
	}
}

// TestNoOtherEndpoint does not repeat a request at an endpoint that had it.
func TestNoOtherEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := script{outcomes: []router.Outcome{{Kind: router.GatewayFault}}}
		router.Do(t.Context(), service(t, router.Policy{}, 2), router.Request{Idempotent: true}, s.send, nil)
		if len(s.ids) != 2 {
			t.Errorf("attempts: %v, want one at each endpoint", s.ids)
		}
	})
}

// TestRejectedRetry returns the failure of the first attempt if the breaker rejects the second one.
func TestRejectedRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{Breaker: router.Breaker{MinRequests: 1}}, 3)
		broken := errors.New("connection reset")
		script := script{outcomes: []router.Outcome{{Kind: router.GatewayFault, Err: broken}}}
		_, o := router.Do(t.Context(), s, router.Request{Idempotent: true}, script.send, nil)
		if !errors.Is(o.Err, broken) || len(script.ids) != 1 {
			t.Errorf("%v after %d attempts, want the failure of the first", o.Err, len(script.ids))
		}
	})
}

// TestChainStop does not repeat the requests of a handler whose own request is a retry.
func TestChainStop(t *testing.T) {
	s := script{outcomes: []router.Outcome{{Kind: router.GatewayFault}}}
	router.Do(router.WithoutRetries(context.Background()), service(t, router.Policy{}, 3), router.Request{Idempotent: true}, s.send, nil)
	if len(s.ids) != 1 {
		t.Errorf("%d attempts, want 1", len(s.ids))
	}
}

// TestBudget ends retries after a fifth of the requests, and ten a second.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{Retry: router.Retry{Ratio: 0.1, MinPerSecond: 1}, Ejection: router.Ejection{Off: true}}, 5)
		attempts := 0
		const requests = 1000
		for range requests {
			router.Do(t.Context(), s, router.Request{}, func(ctx context.Context, a *router.Attempt) (int, router.Outcome) {
				attempts++
				if _, err := a.Pick(ctx); err != nil {
					t.Fatal(err)
				}
				return 0, router.Outcome{Kind: router.GatewayFault, Unsent: true}
			}, nil)
		}
		if retries := attempts - requests; retries < 90 || retries > 110 {
			t.Errorf("%d retries of %d requests, want a tenth and ten", retries, requests)
		}
	})
}

// TestDeadline does not repeat a request whose time does not suffice, and does not wait for longer than it has.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		s := script{outcomes: []router.Outcome{{Kind: router.Overload, Pushback: 2 * time.Second}, {}}}
		_, o := router.Do(ctx, service(t, router.Policy{}, 3), router.Request{Idempotent: true}, s.send, nil)
		if len(s.ids) != 1 || o.Kind != router.Overload || time.Since(began) > 0 {
			t.Errorf("%d attempts, %v after %v: want the overload at once", len(s.ids), o.Kind, time.Since(began))
		}
	})
}

// TestPushback waits as long as the server asks.
func TestPushback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := script{outcomes: []router.Outcome{{Kind: router.Overload, Pushback: 2 * time.Second}, {}}}
		router.Do(t.Context(), service(t, router.Policy{}, 3), router.Request{Idempotent: true}, s.send, nil)
		if waited := time.Since(began); len(s.ids) != 2 || waited < 2*time.Second || waited > 3*time.Second {
			t.Errorf("%d attempts after %v, want 2 after 2 s", len(s.ids), waited)
		}
	})
}

// TestAttemptTimeout repeats an attempt that takes too long, and ends its context.
func TestAttemptTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{Retry: router.Retry{Timeout: time.Second}}, 3)
		value, o := router.Do(t.Context(), s, router.Request{Idempotent: true}, func(ctx context.Context, a *router.Attempt) (int, router.Outcome) {
			if _, err := a.Pick(ctx); err != nil {
				t.Fatal(err)
			}
			if a.Number() == 1 {
				<-ctx.Done()
				return 1, router.Outcome{Kind: router.Neutral, Err: ctx.Err()}
			}
			return a.Number(), router.Outcome{}
		}, nil)
		if value != 2 || o.Kind != router.Success {
			t.Errorf("got %d, %v: want the second attempt", value, o)
		}
		idle(t, s)
	})
}

// idle checks that nothing is in flight.
func idle(t *testing.T, s *router.Service) {
	t.Helper()
	status := s.Status()
	if status.InFlight != 0 {
		t.Errorf("%d attempts in flight at the service", status.InFlight)
	}
	for _, e := range status.Endpoints {
		if e.InFlight != 0 || e.Oldest != 0 {
			t.Errorf("%d attempts in flight at %s, for %v", e.InFlight, e.ID, e.Oldest)
		}
	}
}

// TestOpenAnswer leaves the end of an attempt to the caller: the contexts last until then.
func TestOpenAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{Timeout: time.Minute, Retry: router.Retry{Timeout: time.Second}}, 3)
		var open *router.Attempt
		var of context.Context
		_, o := router.Do(t.Context(), s, router.Request{Idempotent: true}, func(ctx context.Context, a *router.Attempt) (int, router.Outcome) {
			p, err := a.Pick(ctx)
			if err != nil {
				t.Fatal(err)
			}
			p.Answered()
			open, of = a, ctx
			return 0, router.Outcome{Open: true}
		}, nil)
		time.Sleep(10 * time.Second)
		if of.Err() != nil || s.Status().InFlight != 1 {
			t.Fatalf("context %v, %d in flight: want an open answer", of.Err(), s.Status().InFlight)
		}
		open.Done(o)
		open.Done(router.Outcome{Kind: router.Fault})
		if of.Err() == nil {
			t.Error("the context outlives the attempt")
		}
		idle(t, s)
	})
}

// hedged is a policy with a second attempt after a second.
var hedged = router.Policy{Hedge: router.Hedge{After: time.Second}}

// TestHedge takes the first answer, ends the other attempt without a charge, and drops its value.
func TestHedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, hedged, 3)
		var dropped atomic.Int64
		began := time.Now()
		value, o := router.Do(t.Context(), s, router.Request{Idempotent: true, Hedgeable: true},
			func(ctx context.Context, a *router.Attempt) (int, router.Outcome) {
				if _, err := a.Pick(ctx); err != nil {
					t.Error(err)
				}
				if a.Number() == 1 {
					<-ctx.Done()
					return 1, router.Outcome{Kind: router.Neutral, Err: ctx.Err()}
				}
				return 2, router.Outcome{}
			}, func(v int) { dropped.Add(int64(v)) })
		synctest.Wait()
		if value != 2 || o.Kind != router.Success || time.Since(began) != time.Second || dropped.Load() != 1 {
			t.Errorf("got %d, %v after %v, dropped %d: want the hedge after 1 s", value, o.Kind, time.Since(began), dropped.Load())
		}
		idle(t, s)
		for _, e := range s.Status().Endpoints {
			if e.Failures != 0 {
				t.Errorf("%s is charged with the hedge that it lost", e.ID)
			}
		}
	})
}

// TestHedgeLosesNothing waits for the other attempt if one of two fails.
func TestHedgeLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, hedged, 3)
		value, o := router.Do(t.Context(), s, router.Request{Idempotent: true, Hedgeable: true},
			func(ctx context.Context, a *router.Attempt) (int, router.Outcome) {
				if _, err := a.Pick(ctx); err != nil {
					t.Error(err)
				}
				if a.Number() == 1 {
					time.Sleep(3 * time.Second)
					return 1, router.Outcome{}
				}
				return 2, router.Outcome{Kind: router.GatewayFault}
			}, nil)
		if value != 1 || o.Kind != router.Success {
			t.Errorf("got %d, %v: want the slow answer", value, o.Kind)
		}
		idle(t, s)
	})
}

// TestHedgePanic continues a panic of an attempt in the caller.
func TestHedgePanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, hedged, 3)
		defer func() {
			if p := recover(); p != "no" {
				t.Errorf("recovered %v, want the panic", p)
			}
			idle(t, s)
		}()
		router.Do(t.Context(), s, router.Request{Idempotent: true, Hedgeable: true}, func(ctx context.Context, a *router.Attempt) (int, router.Outcome) {
			if _, err := a.Pick(ctx); err != nil {
				t.Error(err)
			}
			panic("no")
		}, nil)
	})
}

// TestFallback sends a request to another service when the first one fails.
func TestFallback(t *testing.T) {
	spare := discovery.Instance{Service: "spare", ID: "s", Addresses: map[string]string{"http": "10.0.1.1:80"}}
	r := newRouter(t, &router.Options{Policies: map[string]router.Policy{
		"orders": {Fallback: "spare", Retry: router.Retry{Attempts: 1}},
		"spare":  {Fallback: "orders"},
	}}, orders("a", "10.0.0.1:80"), spare)
	s := script{outcomes: []router.Outcome{{Kind: router.GatewayFault}, {}}}
	_, o := router.Do(context.Background(), r.Service("orders", "http"), router.Request{Idempotent: true}, s.send, nil)
	if got := strings.Join(s.ids, " "); got != "a s" || o.Kind != router.Success {
		t.Errorf("attempts at %q, %v: want a, then s", got, o.Kind)
	}
}
