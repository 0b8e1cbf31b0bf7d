package router_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
)

// TestPolicyEditedInPlace applies a policy that the program has edited in place.
func TestPolicyEditedInPlace(t *testing.T) {
	p := router.Policy{Split: router.Split{Arms: []router.Arm{{Name: "canary", Percent: 1, Labels: map[string]string{"version": "2"}}}}}
	all := map[string]router.Policy{"orders": p}
	two := orders("b", "10.0.0.2:80")
	two.Version = "2"
	r := newRouter(t, &router.Options{Policies: all}, orders("a", "10.0.0.1:80"), two)
	s := r.Service("orders", "http")
	p.Split.Arms[0].Percent = 100 // the program turns the canary up in its own document
	if err := r.SetPolicies(all); err != nil {
		t.Fatal(err)
	}
	hits := 0
	for range 100 {
		pick, err := s.Pick(t.Context(), router.Request{})
		if err != nil {
			t.Fatal(err)
		}
		if pick.Arm() == "canary" {
			hits++
		}
		pick.Done(router.Outcome{})
	}
	if hits != 100 {
		t.Errorf("%d of 100 requests at the arm with 100 percent; Policy() says %v percent", hits, r.Policy("orders").Split.Arms[0].Percent)
	}
}

// TestFullEndpoints finds the endpoints that have room.
func TestFullEndpoints(t *testing.T) {
	for _, algorithm := range []string{router.RoundRobin, router.ConsistentHash, router.PeakEWMA} {
		t.Run(algorithm, func(t *testing.T) {
			var instances []discovery.Instance
			for i := range 100 {
				instances = append(instances, orders(fmt.Sprintf("i%02d", i), fmt.Sprintf("10.0.0.%d:80", i+1)))
			}
			r := newRouter(t, &router.Options{Policies: map[string]router.Policy{"orders": {
				Balance: router.Balance{Algorithm: algorithm, LoadBound: 1000},
				Limits:  router.Limits{EndpointConcurrent: 1},
			}}}, instances...)
			s := r.Service("orders", "http")
			picked, failed := 0, 0
			var first error
			for range 90 { // none ends
				if _, err := s.Pick(t.Context(), router.Request{Key: "k"}); err != nil {
					first = err
					failed++
				} else {
					picked++
				}
			}
			if failed > 0 {
				t.Errorf("%d picked, %d failed (%v), though 10 endpoints are free", picked, failed, first)
			}
		})
	}
}

// TestConnectedHidesNoFaults ejects an endpoint that accepts connections and breaks them.
func TestConnectedHidesNoFaults(t *testing.T) {
	s := service(t, router.Policy{Balance: router.Balance{Algorithm: router.RoundRobin}}, 3)
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 300 {
		p, err := s.Pick(t.Context(), router.Request{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Endpoint().ID() == "a" { // accepts connections, and breaks them at the first request
			p.Endpoint().Connected(nil)
			p.Done(router.Outcome{Kind: router.GatewayFault})
			continue
		}
		p.Done(router.Outcome{})
	}
	for _, e := range s.Status().Endpoints {
		if e.ID == "a" && e.State != "ejected" {
			t.Errorf("a is %s after 100 gateway faults of 100 requests", e.State)
		}
	}
}

// TestNilProber ends the probes.
func TestNilProber(t *testing.T) {
	s := service(t, router.Policy{}, 8)
	s.SetProber(nil)
	for range 10 {
		p, err := s.Pick(t.Context(), router.Request{})
		if err != nil {
			t.Fatal(err)
		}
		p.Done(router.Outcome{})
	}
	if probes := s.Status(); len(probes.Endpoints) != 8 {
		t.Errorf("%d endpoints, want 8", len(probes.Endpoints))
	}
}

// TestHalfOpenPolicyChange keeps the trials of a half-open breaker when another part of the policy changes.
func TestHalfOpenPolicyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := router.Policy{Breaker: router.Breaker{MinRequests: 1, Open: time.Second, Trials: 3}}
		r := newRouter(t, &router.Options{Policies: map[string]router.Policy{"orders": policy}}, orders("a", "10.0.0.1:80"), orders("b", "10.0.0.2:80"))
		s := r.Service("orders", "http")
		p, err := s.Pick(t.Context(), router.Request{})
		if err != nil {
			t.Fatal(err)
		}
		p.Done(router.Outcome{Kind: router.Fault})
		time.Sleep(2 * time.Second)
		sent := 0
		for n := range 100 {
			policy.SlowStart.Window = time.Duration(n+1) * time.Second // of no concern to the breaker
			if err := r.SetPolicies(map[string]router.Policy{"orders": policy}); err != nil {
				t.Fatal(err)
			}
			if p, err := s.Pick(t.Context(), router.Request{}); err == nil {
				sent++
				p.Done(router.Outcome{})
			}
		}
		if state := s.Status().Breaker.State; state != "closed" {
			t.Errorf("%s after %d successful trials of 3", state, sent)
		}
	})
}

// TestSelectionObeysLabels fails rather than send a labeled request to an endpoint of another label.
func TestSelectionObeysLabels(t *testing.T) {
	acme, other := orders("a", "10.0.0.1:80"), orders("b", "10.0.0.2:80")
	acme.Labels = map[string]string{"tenant": "acme"}
	other.Labels = map[string]string{"tenant": "other"}
	r := newRouter(t, &router.Options{Policies: map[string]router.Policy{"orders": {Labels: router.Labels{Allow: []string{"tenant"}, Fallback: router.FallbackNone}}}}, acme, other)
	s := r.Service("orders", "http")
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	x := s.Among([]*router.Endpoint{s.Endpoint("b", "10.0.0.2:80")})
	p, err := x.Pick(router.Request{Labels: map[string]string{"tenant": "acme"}})
	if err == nil {
		t.Errorf("a request of tenant acme goes to %s, an endpoint of tenant other", p.Endpoint().ID())
	}
}

// TestZeroPick does nothing.
func TestZeroPick(t *testing.T) {
	var zero router.Pick
	zero.Done(router.Outcome{})
	zero.Answered()
	if zero.Endpoint() != nil || zero.Arm() != "" || zero.Address() != "" {
		t.Errorf("the zero Pick has %v, %q, %q", zero.Endpoint(), zero.Arm(), zero.Address())
	}
}
