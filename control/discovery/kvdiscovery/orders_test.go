package kvdiscovery_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// orderFleet is a service with the instances i and i2, and an operator.
type orderFleet struct {
	t        *testing.T
	store    *kv.Store
	operator *kvdiscovery.Registry
	resolver *discovery.Resolver
}

// inBubble runs a test of orders on a fake clock.
func inBubble(t *testing.T, check func(*orderFleet)) {
	synctest.Test(t, func(t *testing.T) {
		f := &orderFleet{t: t, store: kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})}
		defer func() { _ = f.store.Close() }()
		f.operator = f.registry()
		resolver, err := discovery.NewResolver(f.registry(), &discovery.ResolverOptions{Telemetry: telemetry.Off()})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resolver.Close() }()
		f.resolver = resolver
		check(f)
	})
}

func (f *orderFleet) registry() *kvdiscovery.Registry {
	f.t.Helper()
	r, err := kvdiscovery.New(f.store, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// process registers instances of the service orders in a process of its own.
func (f *orderFleet) process(ids ...string) (*discovery.Registrar, *discovery.Registration) {
	f.t.Helper()
	registrar, err := discovery.NewRegistrar(f.registry(), &discovery.RegistrarOptions{Telemetry: telemetry.Off()})
	if err != nil {
		f.t.Fatal(err)
	}
	var last *discovery.Registration
	for _, id := range ids {
		last, err = registrar.Register(f.t.Context(), discovery.Instance{
			Service: "orders", ID: id, Weight: 1, Addresses: map[string]string{"grpc": "10.0.0.1:9000"},
		})
		if err != nil {
			f.t.Fatal(err)
		}
	}
	return registrar, last
}

// states fails the test unless the instances have these states.
func (f *orderFleet) states(want string) {
	f.t.Helper()
	synctest.Wait()
	s, err := f.resolver.Lookup(f.t.Context(), "orders")
	if err != nil {
		f.t.Fatal(err)
	}
	got := ""
	for _, i := range s.Instances {
		got += fmt.Sprintf("%s %s, ", i.ID, i.State)
	}
	if got != want {
		f.t.Errorf("got %s, want %s", got, want)
	}
}

func (f *orderFleet) drain(id string, keep time.Duration) {
	f.t.Helper()
	if err := f.operator.Drain(f.t.Context(), "orders", id, keep); err != nil {
		f.t.Fatal(err)
	}
}

// TestDrain: the process of an instance follows the order of an operator until it is taken back. Others do not.
func TestDrain(t *testing.T) {
	inBubble(t, func(f *orderFleet) {
		registrar, registration := f.process("i", "i2", "drain")
		defer func() { _ = registrar.Close() }()
		f.states("drain up, i up, i2 up, ")
		f.drain("i", time.Hour)
		f.states("drain up, i draining, i2 up, ")
		f.drain("drain", time.Hour)
		f.states("drain draining, i draining, i2 up, ")
		if err := registration.Check(t.Context()); err != nil {
			t.Errorf("a drained instance is registered: %v", err)
		}
		if s := f.resolver.Status()[0]; len(s.Invalid) > 0 {
			t.Errorf("orders are shown as records: %v", s.Invalid)
		}
		if err := f.operator.Undrain(t.Context(), "orders", "i"); err != nil {
			t.Error(err)
		}
		f.states("drain draining, i up, i2 up, ")
		if err := f.operator.Undrain(t.Context(), "orders", "i"); !errors.Is(err, driver.ErrNotFound) {
			t.Errorf("nothing to undrain: got %v, want ErrNotFound", err)
		}
	})
}

// TestDrainEnds: an order ends with its time.
func TestDrainEnds(t *testing.T) {
	inBubble(t, func(f *orderFleet) {
		registrar, _ := f.process("i")
		defer func() { _ = registrar.Close() }()
		f.drain("i", time.Hour)
		time.Sleep(59 * time.Minute)
		f.states("i draining, ")
		time.Sleep(2 * time.Minute)
		f.states("i up, ")
	})
}

// TestDrainSuccessor: an order does not apply to the next process.
func TestDrainSuccessor(t *testing.T) {
	inBubble(t, func(f *orderFleet) {
		first, _ := f.process("i")
		f.drain("i", time.Hour)
		f.states("i draining, ")
		if err := first.Close(); err != nil {
			t.Error(err)
		}
		if err := f.operator.Drain(t.Context(), "orders", "i", time.Hour); !errors.Is(err, driver.ErrNotFound) {
			t.Errorf("an instance that has deregistered: got %v, want ErrNotFound", err)
		}
		second, _ := f.process("i")
		defer func() { _ = second.Close() }()
		f.states("i up, ")
		f.drain("i", time.Hour)
		f.states("i draining, ")
	})
}

// TestDrainOutlivesLease: a process that lost its lease registers again, and still drains.
func TestDrainOutlivesLease(t *testing.T) {
	inBubble(t, func(f *orderFleet) {
		registrar, _ := f.process("i")
		defer func() { _ = registrar.Close() }()
		f.drain("i", time.Hour)
		f.states("i draining, ")
		if err := f.store.Delete(t.Context(), "orders/i"); err != nil {
			t.Fatal(err)
		}
		f.states("i draining, ")
		if _, err := f.store.Put(t.Context(), "orders/i/drain", []byte("{")); err != nil { // a malformed order counts as missing
			t.Fatal(err)
		}
		f.states("i up, ")
	})
}

// TestDrainUnknown: there is no order for an instance that is not registered.
func TestDrainUnknown(t *testing.T) {
	inBubble(t, func(f *orderFleet) {
		if err := f.operator.Drain(t.Context(), "orders", "i", time.Hour); !errors.Is(err, driver.ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
		var _ driver.Drainer = f.operator
	})
}
