package router_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
)

// TestInvalidPolicies finds every impossible value.
func TestInvalidPolicies(t *testing.T) {
	arm := router.Arm{Name: "canary", Percent: 5, Labels: map[string]string{"version": "2"}}
	tests := []struct {
		field  string
		policy router.Policy
	}{
		{"balance.algorithm", router.Policy{Balance: router.Balance{Algorithm: "best"}}},
		{"balance.choices", router.Policy{Balance: router.Balance{Choices: 1}}},
		{"balance.decay", router.Policy{Balance: router.Balance{Decay: -1}}},
		{"balance.probe_rate", router.Policy{Balance: router.Balance{ProbeRate: math.NaN()}}},
		{"balance.hot_quantile", router.Policy{Balance: router.Balance{HotQuantile: 1.1}}},
		{"balance.load_bound", router.Policy{Balance: router.Balance{LoadBound: 0.5}}},
		{"ejection.interval", router.Policy{Ejection: router.Ejection{Interval: -time.Second}}},
		{"ejection.longest", router.Policy{Ejection: router.Ejection{Base: time.Minute, Longest: time.Second}}},
		{"ejection.max_share", router.Policy{Ejection: router.Ejection{MaxShare: 75}}},
		{"ejection.consecutive", router.Policy{Ejection: router.Ejection{Consecutive: -5}}},
		{"ejection.no_panic", router.Policy{Ejection: router.Ejection{NoPanic: true, Panic: 0.5}}},
		{"slow_start.window", router.Policy{SlowStart: router.SlowStart{Window: math.MaxInt64}}},
		{"slow_start.min_weight", router.Policy{SlowStart: router.SlowStart{MinWeight: -0.1}}},
		{"zones.overprovisioning", router.Policy{Zones: router.Zones{Overprovisioning: 0.9}}},
		{"subset", router.Policy{Subset: -1}},
		{"labels.match", router.Policy{Labels: router.Labels{Match: "some"}}},
		{"labels.default", router.Policy{Labels: router.Labels{Fallback: router.FallbackDefault}}},
		{"labels.allow", router.Policy{Labels: router.Labels{Allow: []string{"a b"}}}},
		{"split.arms", router.Policy{Split: router.Split{Arms: []router.Arm{arm, arm}}}},
		{"split.arms", router.Policy{Split: router.Split{Arms: []router.Arm{{Name: "a", Percent: 101, Labels: arm.Labels}}}}},
		{"split.arms", router.Policy{Split: router.Split{Arms: []router.Arm{{Name: "a", Percent: 5}}}}},
		{"split", router.Policy{Split: router.Split{Arms: []router.Arm{{Name: router.RestArm, Percent: 5, Labels: arm.Labels}}}}},
		{"breaker.ratio", router.Policy{Breaker: router.Breaker{Ratio: 50}}},
		{"breaker.slow_ratio", router.Policy{Breaker: router.Breaker{SlowRatio: 0.5}}},
		{"endpoint_breaker.open", router.Policy{EndpointBreaker: router.Breaker{Open: -1}}},
		{"breaker", router.Policy{Breaker: router.Breaker{Window: 1}}},
		{"throttle.k", router.Policy{Throttle: router.Throttle{K: 0.5}}},
		{"limits.concurrent", router.Policy{Limits: router.Limits{Concurrent: -1}}},
		{"limits.rate", router.Policy{Limits: router.Limits{Rate: math.Inf(1)}}},
		{"limits.burst", router.Policy{Limits: router.Limits{Burst: 5}}},
		{"timeout", router.Policy{Timeout: -1}},
		{"retry.attempts", router.Policy{Retry: router.Retry{Attempts: 4}}},
		{"retry.ratio", router.Policy{Retry: router.Retry{Ratio: 20}}},
		{"retry.longest", router.Policy{Retry: router.Retry{Wait: time.Second, Longest: time.Millisecond}}},
		{"hedge.quantile", router.Policy{Hedge: router.Hedge{Quantile: 95}}},
		{"hedge", router.Policy{Hedge: router.Hedge{After: 1}, Retry: router.Retry{Attempts: 1}}},
	}
	for _, tt := range tests {
		err := tt.policy.Validate()
		if !errors.Is(err, router.ErrInvalid) || !strings.Contains(err.Error(), tt.field) {
			t.Errorf("%s: %v: want ErrInvalid that names the field", tt.field, err)
		}
		if err != nil && strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s: %v: want one mistake", tt.field, err)
		}
	}
	if err := (router.Policy{}).Validate(); err != nil {
		t.Errorf("the zero policy: %v", err)
	}
}

// TestSetPolicies replaces all policies or none, and keeps what was learnt.
func TestSetPolicies(t *testing.T) {
	r := newRouter(t, nil, orders("a", "10.0.0.1:80"), orders("b", "10.0.0.2:80"))
	s := r.Service("orders", "http")
	p, err := s.Pick(context.Background(), router.Request{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Done(router.Outcome{})
	before, _ := s.Endpoints()
	bad := map[string]router.Policy{"orders": {Timeout: time.Second}, "payments": {Subset: -1}}
	if err := r.SetPolicies(bad); !errors.Is(err, router.ErrInvalid) || r.Policy("orders").Timeout != 0 {
		t.Errorf("SetPolicies: %v, timeout %v: want ErrInvalid and no change", err, r.Policy("orders").Timeout)
	}
	if err := r.SetPolicies(map[string]router.Policy{"*": {Timeout: time.Minute}, "orders": {Timeout: time.Second}}); err != nil {
		t.Fatal(err)
	}
	if got, other := r.Policy("orders").Timeout, r.Policy("payments").Timeout; got != time.Second || other != time.Minute {
		t.Errorf("timeouts %v and %v, want 1 s and 1 min", got, other)
	}
	if after, _ := s.Endpoints(); len(after) != 2 || after[0] != before[0] || s.Status().Endpoints[0].InFlight+s.Status().Endpoints[1].InFlight != 1 {
		t.Error("a new policy loses endpoints or requests in flight")
	}
}

// TestBreaker rejects requests while the service fails, and recovers.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{Breaker: router.Breaker{Ratio: 0.5}, Ejection: router.Ejection{Off: true}}, 2)
		for range 30 {
			if p, err := s.Pick(t.Context(), router.Request{}); err == nil {
				p.Done(router.Outcome{Kind: router.Fault})
			}
		}
		_, err := s.Pick(t.Context(), router.Request{})
		if !errors.Is(err, router.ErrOpen) || !errors.Is(err, router.ErrRejected) {
			t.Fatalf("pick: %v, want ErrOpen", err)
		}
		if got := s.Status(); got.Breaker == nil || got.Breaker.State != "open" {
			t.Errorf("status: %+v, want an open breaker", got.Breaker)
		}
		time.Sleep(time.Minute)
		for range 10 {
			if p, err := s.Pick(t.Context(), router.Request{}); err == nil {
				p.Done(router.Outcome{})
			}
		}
		if got := s.Status().Breaker.State; got != "closed" {
			t.Errorf("state %q after successful trials, want closed", got)
		}
		idle(t, s)
	})
}

// TestEndpointBreaker ejects an endpoint, and rejects nothing.
func TestEndpointBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, router.Policy{
			Balance: router.Balance{Algorithm: router.RoundRobin}, EndpointBreaker: router.Breaker{Slow: time.Second, MinRequests: 5, Window: time.Minute},
		}, 3)
		for range 100 {
			p, err := s.Pick(t.Context(), router.Request{})
			if err != nil {
				t.Fatal(err)
			}
			if p.Endpoint().ID() == "a" {
				time.Sleep(2 * time.Second)
			} else {
				time.Sleep(10 * time.Millisecond)
			}
			p.Done(router.Outcome{})
			if status := s.Status(); status.Endpoints[0].State == "ejected" {
				if status.Endpoints[0].Reason != "breaker_open" || status.Endpoints[0].Returns <= 0 {
					t.Errorf("status: %+v, want an ejection by the breaker", status.Endpoints[0])
				}
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("the slow endpoint was not ejected: %+v", s.Status().Endpoints)
	})
}

// TestLimits rejects requests over a limit.
func TestLimits(t *testing.T) {
	ctx := context.Background()
	t.Run("concurrent", func(t *testing.T) {
		s := service(t, router.Policy{Limits: router.Limits{Concurrent: 1}}, 2)
		p, _ := s.Pick(ctx, router.Request{})
		if _, err := s.Pick(ctx, router.Request{}); !errors.Is(err, router.ErrLimited) || !errors.Is(err, router.ErrRejected) {
			t.Errorf("second pick: %v, want ErrLimited", err)
		}
		p.Done(router.Outcome{})
		if p, err := s.Pick(ctx, router.Request{}); err != nil {
			t.Errorf("pick after the end of the first: %v", err)
		} else {
			p.Done(router.Outcome{})
		}
		idle(t, s)
	})
	t.Run("endpoint", func(t *testing.T) {
		s := service(t, router.Policy{Limits: router.Limits{EndpointConcurrent: 1}}, 2)
		a, errA := s.Pick(ctx, router.Request{})
		b, errB := s.Pick(ctx, router.Request{})
		if errA != nil || errB != nil || a.Address() == b.Address() {
			t.Fatalf("picks: %v, %v: want both endpoints", errA, errB)
		}
		if _, err := s.Pick(ctx, router.Request{}); !errors.Is(err, router.ErrLimited) {
			t.Errorf("third pick: %v, want ErrLimited", err)
		}
		a.Done(router.Outcome{})
		b.Done(router.Outcome{})
		for _, e := range s.Status().Endpoints {
			if e.State != "available" {
				t.Errorf("%s is %s: a full endpoint must not be ejected", e.ID, e.State)
			}
		}
		idle(t, s)
	})
	t.Run("rate", func(t *testing.T) {
		s := service(t, router.Policy{Limits: router.Limits{Rate: 1, KeyRate: 100, KeyBurst: 1}}, 2)
		p, err := s.Pick(ctx, router.Request{Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		p.Done(router.Outcome{})
		var e *router.Error
		if _, err := s.Pick(ctx, router.Request{}); !errors.As(err, &e) || !errors.Is(err, router.ErrLimited) || e.RetryAfter <= 0 {
			t.Errorf("second pick: %v, want ErrLimited with a time", err)
		}
	})
}

// versions are three instances of version 1, and one of version 2.
func versions() []discovery.Instance {
	all := []discovery.Instance{orders("a", "10.0.0.1:80"), orders("b", "10.0.0.2:80"), orders("c", "10.0.0.3:80"), orders("d", "10.0.0.4:80")}
	for n := range all {
		all[n].Version = "1"
	}
	all[3].Version = "2"
	return all
}

// TestSplit sends a share of the keys to the canary, and keeps them there while it grows.
func TestSplit(t *testing.T) {
	split := func(percent float64) map[string]router.Policy {
		return map[string]router.Policy{"orders": {Split: router.Split{Arms: []router.Arm{
			{Name: "canary", Percent: percent, Labels: map[string]string{"version": "2"}},
		}}}}
	}
	r := newRouter(t, &router.Options{Policies: split(5)}, versions()...)
	s := r.Service("orders", "http")
	in := func() map[string]bool {
		keys := map[string]bool{}
		for n := range 2000 {
			key := string(rune('a'+n%26)) + time.Duration(n).String()
			p, err := s.Pick(context.Background(), router.Request{Key: key})
			if err != nil {
				t.Fatal(err)
			}
			if canary := p.Arm() == "canary"; canary != (p.Endpoint().ID() == "d") {
				t.Fatalf("arm %q at %s", p.Arm(), p.Endpoint().ID())
			} else if canary {
				keys[key] = true
			}
			p.Done(router.Outcome{})
		}
		return keys
	}
	five := in()
	if err := r.SetPolicies(split(10)); err != nil {
		t.Fatal(err)
	}
	ten := in()
	if len(five) < 60 || len(five) > 140 || len(ten) < 150 || len(ten) > 250 {
		t.Errorf("%d and %d of 2000 keys in the canary, want 5 and 10 percent", len(five), len(ten))
	}
	for key := range five {
		if !ten[key] {
			t.Errorf("key %q has left the canary, which grew", key)
		}
	}
	p, err := s.Pick(context.Background(), router.Request{Arm: "canary"})
	if err != nil || p.Endpoint().ID() != "d" {
		t.Errorf("a request of the arm canary: %v, %v", p.Endpoint().ID(), err)
	}
	p.Done(router.Outcome{})
}

// TestLabels chooses endpoints by the labels of the request, of those that the policy allows.
func TestLabels(t *testing.T) {
	labels := router.Labels{Allow: []string{"version"}, Fallback: router.FallbackNone}
	r := newRouter(t, &router.Options{Policies: map[string]router.Policy{"orders": {Labels: labels}}}, versions()...)
	s := r.Service("orders", "http")
	given := map[string]string{"version": "2", "zone": "nowhere"}
	for range 20 {
		p, err := s.Pick(router.WithLabels(context.Background(), given), router.Request{})
		if err != nil || p.Endpoint().ID() != "d" {
			t.Fatalf("pick: %v, %v, want d", p.Endpoint(), err)
		}
		p.Done(router.Outcome{})
	}
	if _, err := s.Pick(context.Background(), router.Request{Labels: map[string]string{"version": "3"}}); !errors.Is(err, router.ErrUnavailable) {
		t.Errorf("pick of version 3: %v, want ErrUnavailable", err)
	}
	if len(given) != 2 {
		t.Error("the labels of the request were changed")
	}
}

// TestConsistentHash keeps keys at their endpoints.
func TestConsistentHash(t *testing.T) {
	s := service(t, router.Policy{Balance: router.Balance{Algorithm: router.ConsistentHash}}, 10)
	at := map[string]string{}
	for range 5 {
		for n := range 50 {
			key := time.Duration(n).String()
			p, err := s.Pick(context.Background(), router.Request{Key: key})
			if err != nil {
				t.Fatal(err)
			}
			p.Done(router.Outcome{})
			if before := at[key]; before != "" && before != p.Endpoint().ID() {
				t.Errorf("key %q at %s, before at %s", key, p.Endpoint().ID(), before)
			}
			at[key] = p.Endpoint().ID()
		}
	}
}
