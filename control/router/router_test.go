package router_test

import (
	"context"
	"errors"
	"testing"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/telemetry"
)

// newRouter returns a Router for fixed instances of "orders".
func newRouter(t testing.TB, opts *router.Options, instances ...discovery.Instance) *router.Router {
	t.Helper()
	registry, err := discovery.Static(instances...)
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := discovery.NewResolver(registry, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	r, err := router.New(resolver, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), resolver.Close() })
	return r
}

// orders returns an instance of "orders".
func orders(id, address string) discovery.Instance {
	return discovery.Instance{Service: "orders", ID: id, Addresses: map[string]string{"http": address}}
}

// TestPick avoids tried endpoints, and fails when there is no other.
func TestPick(t *testing.T) {
	s := newRouter(t, nil, orders("a", "10.0.0.1:1"), orders("b", "10.0.0.2:1")).Service("orders", "http")
	first, err := s.Pick(context.Background(), router.Request{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Pick(context.Background(), router.Request{}, first.Endpoint())
	if err != nil || second.Address() == first.Address() {
		t.Fatalf("second pick: %v, %v: want the other endpoint", second.Address(), err)
	}
	if _, err := s.Pick(context.Background(), router.Request{}, first.Endpoint(), second.Endpoint()); !errors.Is(err, router.ErrUnavailable) {
		t.Errorf("third pick: %v, want ErrUnavailable", err)
	}
	first.Done(router.Outcome{})
	second.Done(router.Outcome{})
}
