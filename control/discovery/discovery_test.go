package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// fixture is a registry in memory.
type fixture struct {
	*testing.T
	store *kv.Store
}

func newFixture(t *testing.T) *fixture {
	store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &fixture{t, store}
}

func (f *fixture) registry() *kvdiscovery.Registry {
	f.Helper()
	registry, err := kvdiscovery.New(f.store)
	if err != nil {
		f.Fatal(err)
	}
	return registry
}

func (f *fixture) registrar() *discovery.Registrar {
	f.Helper()
	r, err := discovery.NewRegistrar(f.registry(), &discovery.RegistrarOptions{Telemetry: telemetry.Off()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := r.Close(); err != nil {
			f.Error(err)
		}
	})
	return r
}

func (f *fixture) resolver() *discovery.Resolver {
	f.Helper()
	r, err := discovery.NewResolver(f.registry(), &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := r.Close(); err != nil {
			f.Error(err)
		}
	})
	return r
}

func instance(n int) discovery.Instance {
	return discovery.Instance{
		Service: "orders", ID: fmt.Sprintf("i%d", n), Weight: 100,
		Addresses: map[string]string{"grpc": fmt.Sprintf("10.0.0.%d:9000", n+1)},
	}
}

func (f *fixture) register(r *discovery.Registrar, n int) *discovery.Registration {
	f.Helper()
	g, err := r.Register(f.Context(), instance(n))
	if err != nil {
		f.Fatal(err)
	}
	if err := g.Check(f.Context()); err != nil {
		f.Fatal(err)
	}
	return g
}

// ids returns the instances that a resolver has now.
func ids(t *testing.T, r *discovery.Resolver) string {
	t.Helper()
	synctest.Wait()
	s, err := r.Lookup(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, i := range s.Instances {
		text += " " + i.ID
		if i.State != discovery.Up {
			text += "(" + i.State.String() + ")"
		}
	}
	if s.Held > 0 {
		text += fmt.Sprintf(" held %d", s.Held)
	}
	return text
}

func (f *fixture) expect(r *discovery.Resolver, want string) {
	f.Helper()
	if got := ids(f.T, r); got != want {
		f.Errorf("instances%s, want%s", got, want)
	}
}

// TestLifeOfAnInstance registers, changes, drains and deregisters instances.
func TestLifeOfAnInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		resolver := f.resolver()
		if _, err := resolver.Lookup(t.Context(), "orders"); !errors.Is(err, discovery.ErrNotFound) {
			t.Errorf("Lookup of an unknown service: %v, want ErrNotFound", err)
		}
		registrar := f.registrar()
		first, second := f.register(registrar, 0), f.register(registrar, 1)
		f.expect(resolver, " i0 i1")
		if err := first.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.expect(resolver, " i0(draining) i1")
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		f.expect(resolver, " i1")
		if err := second.Close(); err != nil {
			t.Fatal(err)
		}
		f.expect(resolver, "")
		if err := second.Check(t.Context()); !errors.Is(err, discovery.ErrClosed) {
			t.Errorf("Check after Close: %v, want ErrClosed", err)
		}
		time.Sleep(discovery.DefaultGoodbye + time.Minute)
		synctest.Wait()
		if left := keys(t, f.store); left != "" {
			t.Errorf("keys left behind:%s", left)
		}
	})
}

func keys(t *testing.T, s *kv.Store) (all string) {
	t.Helper()
	for it, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		all += " " + it.Key
	}
	return all
}

// TestWipedPrefix deletes all records by mistake: no reader is without an instance, and all are registered again at once.
func TestWipedPrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		registrar, resolver := f.registrar(), f.resolver()
		for n := range 3 {
			f.register(registrar, n)
		}
		f.expect(resolver, " i0 i1 i2")
		for n := range 3 {
			if err := f.store.Delete(t.Context(), fmt.Sprintf("orders/i%d", n)); err != nil {
				t.Fatal(err)
			}
		}
		f.expect(resolver, " i0 i1 i2")
		time.Sleep(time.Second)
		synctest.Wait()
		if got := keys(t, f.store); got != " orders/i0 orders/i1 orders/i2" {
			t.Errorf("a second later the registry has%s", got)
		}
	})
}

// TestDeadProcess lets a lease end without a goodbye.
func TestDeadProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		living, resolver := f.registrar(), f.resolver()
		for n := range 3 {
			f.register(living, n)
		}
		put := func(id string) {
			lease, err := f.store.Lease(t.Context(), 15*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.store.Put(t.Context(), "orders/"+id, []byte(`{"addresses":{"grpc":"10.1.1.1:1"},"weight":1,"state":"up"}`), kv.WithLease(lease)); err != nil {
				t.Fatal(err)
			}
		}
		put("dead")
		f.expect(resolver, " dead i0 i1 i2")
		time.Sleep(time.Minute)
		f.expect(resolver, " i0 i1 i2")
	})
}

// TestLateDuplicate starts a second process with the same service and ID: the later one stays.
func TestLateDuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		first := f.register(f.registrar(), 0)
		time.Sleep(time.Second)
		second := f.register(f.registrar(), 0)
		synctest.Wait()
		if err := first.Check(t.Context()); !errors.Is(err, discovery.ErrConflict) {
			t.Errorf("the earlier process: %v, want ErrConflict", err)
		}
		if err := first.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if err := second.Check(t.Context()); err != nil {
			t.Errorf("the later process: %v", err)
		}
	})
}

// TestRegistryAway takes the registry away for longer than the lease.
func TestInvalidInstances(t *testing.T) {
	f := newFixture(t)
	registrar := f.registrar()
	for name, change := range map[string]func(*discovery.Instance){
		"no service":         func(i *discovery.Instance) { i.Service = "" },
		"slash":              func(i *discovery.Instance) { i.Service = "a/b" },
		"no ID":              func(i *discovery.Instance) { i.ID = "" },
		"no address":         func(i *discovery.Instance) { i.Addresses = nil },
		"no port":            func(i *discovery.Instance) { i.Addresses = map[string]string{"grpc": "10.0.0.1"} },
		"unspecified":        func(i *discovery.Instance) { i.Addresses = map[string]string{"grpc": "0.0.0.0:1"} },
		"negative weight":    func(i *discovery.Instance) { i.Weight = -1 },
		"label not in UTF-8": func(i *discovery.Instance) { i.Labels = map[string]string{"a": "\xff"} },
	} {
		t.Run(name, func(t *testing.T) {
			i := instance(0)
			change(&i)
			if _, err := registrar.Register(context.Background(), i); !errors.Is(err, discovery.ErrInvalid) {
				t.Errorf("%v, want ErrInvalid", err)
			}
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()
	registry, _ := kvdiscovery.New(store)
	resolver, _ := discovery.NewResolver(registry, nil)
	defer resolver.Close()
	for n := range 10_000 {
		if _, err := store.Put(b.Context(), fmt.Sprintf("orders/i%d", n), []byte(`{"addresses":{"grpc":"10.1.1.1:1"},"weight":1,"state":"up"}`)); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := resolver.Lookup(b.Context(), "orders"); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := resolver.Lookup(b.Context(), "orders"); err != nil {
			b.Fatal(err)
		}
	}
}
