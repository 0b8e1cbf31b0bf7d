package router_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
)

// hundred returns a service of a hundred endpoints that have answered.
func hundred(tb testing.TB, policy router.Policy) *router.Service {
	var instances []discovery.Instance
	for n := range 100 {
		instances = append(instances, orders(fmt.Sprintf("orders-%d", n), fmt.Sprintf("10.0.0.%d:80", n+1)))
	}
	s := newRouter(tb, &router.Options{Policies: map[string]router.Policy{"orders": policy}}, instances...).Service("orders", "http")
	for range 1000 {
		p, err := s.Pick(context.Background(), router.Request{})
		if err != nil {
			tb.Fatal(err)
		}
		p.Done(router.Outcome{})
	}
	return s
}

// benchmarked are the policies whose cost is measured.
var benchmarked = map[string]router.Policy{
	"auto":            {},
	"peak_ewma":       {Balance: router.Balance{Algorithm: router.PeakEWMA}},
	"least_request":   {Balance: router.Balance{Algorithm: router.LeastRequest}},
	"round_robin":     {Balance: router.Balance{Algorithm: router.RoundRobin}},
	"consistent_hash": {Balance: router.Balance{Algorithm: router.ConsistentHash}},
	"everything": {
		Breaker: router.Breaker{Ratio: 0.5}, EndpointBreaker: router.Breaker{Ratio: 0.5}, Throttle: router.Throttle{K: 2},
		Limits: router.Limits{Concurrent: 10_000, EndpointConcurrent: 1000},
	},
}

// BenchmarkPick is a pick and its end, at a hundred endpoints.
func BenchmarkPick(b *testing.B) {
	for name, policy := range benchmarked {
		s := hundred(b, policy)
		ctx, req := context.Background(), router.Request{Method: "/orders/{id}", Key: "customer-7"}
		once := func() {
			p, err := s.Pick(ctx, req)
			if err != nil {
				b.Fatal(err)
			}
			p.Done(router.Outcome{})
		}
		b.Run(name+"/serial", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				once()
			}
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					once()
				}
			})
		})
	}
}

// TestPickAllocations allows no allocation for a pick and its end.
func TestPickAllocations(t *testing.T) {
	for name, policy := range benchmarked {
		s := hundred(t, policy)
		ctx, req := context.Background(), router.Request{Method: "/orders/{id}", Key: "customer-7"}
		if got := testing.AllocsPerRun(1000, func() {
			p, _ := s.Pick(ctx, req)
			p.Done(router.Outcome{})
		}); got > 0 {
			t.Errorf("%s: %v allocations, want none", name, got)
		}
	}
}
