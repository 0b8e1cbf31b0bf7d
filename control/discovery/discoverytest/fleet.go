package discoverytest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/telemetry"
)

// fleets are the promises of package discovery on the driver.
func fleets() []promise {
	return []promise{
		{Name: "fleet/life of an instance", Needs: Writes | Reads, Check: fleetLife},
		{Name: "fleet/found by hand", Needs: Reads, Hook: "Put", Together: true, Check: fleetFound},
		{Name: "fleet/registered again after removal", Needs: Writes | Reads, Hook: "Remove", Together: true, Check: fleetRemoved},
		{Name: "fleet/later start wins", Needs: Writes | Reads | Incarnations, Together: true, Check: fleetConflict},
		{Name: "faults/fleet while the engine is down", Needs: Writes | Reads, Hook: "Kill", Check: func(r *rig) { r.outlasts(r.Kill, r.Revive) }},
		{Name: "faults/fleet while the engine is silent", Needs: Writes | Reads, Hook: "Pause", Check: func(r *rig) { r.outlasts(r.Pause, r.Resume) }},
		{Name: "faults/fleet while the leader is down", Needs: Writes | Reads, Hook: "KillLeader", Check: func(r *rig) { r.outlasts(r.KillLeader, r.Revive) }},
		{Name: "faults/fleet while the network is cut", Needs: Writes | Reads, Hook: "Cut", Check: func(r *rig) { r.outlasts(r.Cut, r.Heal) }},
		{Name: "faults/fleet while the network is silent", Needs: Writes | Reads, Hook: "Drop", Check: func(r *rig) { r.outlasts(r.Drop, r.Heal) }},
	}
}

// registrar returns a Registrar as a program has it. The suite closes it.
func (r *rig) registrar(p telemetry.Providers) *discovery.Registrar {
	r.Helper()
	registrar, err := discovery.NewRegistrar(r.Registry.Registrar(r), &discovery.RegistrarOptions{TTL: r.ttl, Telemetry: p})
	if err != nil {
		r.Fatalf("NewRegistrar: %v", err)
	}
	r.later(func() { r.close("Registrar", registrar.Close) })
	return registrar
}

// resolver returns a Resolver as a program has it. The suite closes it.
func (r *rig) resolver(p telemetry.Providers) *discovery.Resolver {
	r.Helper()
	resolver, err := discovery.NewResolver(r.Registry.Reader(r), &discovery.ResolverOptions{HoldWindow: r.ttl, Telemetry: p})
	if err != nil {
		r.Fatalf("NewResolver: %v", err)
	}
	r.later(func() { r.close("Resolver", resolver.Close) })
	return resolver
}

// registered returns a registration that the registry has.
func (r *rig) registered(registrar *discovery.Registrar, i driver.Instance) *discovery.Registration {
	r.Helper()
	g, err := registrar.Register(r.context(), i)
	if err != nil {
		r.Fatalf("Register: %v", err)
	}
	r.eventually("the registration", func() error { return g.Check(r.Context()) })
	return g
}

// looksUp waits until a Resolver has exactly these instances, ordered by ID.
func (r *rig) looksUp(resolver *discovery.Resolver, service string, want ...driver.Instance) {
	r.Helper()
	r.eventually("the instances of a Resolver", func() error {
		snapshot, err := resolver.Lookup(r.context(), service)
		if err != nil {
			return err
		}
		if len(snapshot.Instances) != len(want) {
			return fmt.Errorf("%d instances, want %d", len(snapshot.Instances), len(want))
		}
		for n, i := range snapshot.Instances {
			if err := alike(driver.Record{Instance: i}, driver.Record{Instance: r.Shown(driver.Record{Instance: want[n]}).Instance}); err != nil {
				return err
			}
		}
		return nil
	})
}

// fleetLife registers, changes, drains and deregisters an instance beside another.
func fleetLife(r *rig) {
	service := r.service("life")
	resolver := r.resolver(telemetry.Off())
	if _, err := resolver.Lookup(r.context(), service); !errors.Is(err, discovery.ErrNotFound) {
		r.Errorf("Lookup of an unknown service: %v, want ErrNotFound", err)
	}
	registrar := r.registrar(telemetry.Off())
	a, b := instance(service, "a"), instance(service, "b")
	first := r.registered(registrar, a)
	r.registered(registrar, b)
	r.looksUp(resolver, service, a, b)
	a.Weight, a.Version = 3, "2"
	r.is(first.Update(r.context(), func(i *driver.Instance) { i.Weight, i.Version = 3, "2" }), nil, "Update")
	r.looksUp(resolver, service, a, b)
	a.State = driver.Draining
	r.is(first.Drain(r.context()), nil, "Drain")
	r.looksUp(resolver, service, a, b)
	r.is(first.Close(), nil, "Close")
	r.is(first.Check(r.Context()), discovery.ErrClosed, "Check after Close")
	r.looksUp(resolver, service, b)
	r.is(registrar.Close(), nil, "Close of the Registrar")
	if r.Has(Goodbyes) {
		r.looksUp(resolver, service)
	}
}

func fleetFound(r *rig) {
	service := r.service("found")
	a, b := instance(service, "a"), instance(service, "b")
	r.put(a)
	r.put(b)
	r.looksUp(r.resolver(telemetry.Off()), service, a, b)
}

// fleetConflict starts two processes with one service and ID.
func fleetConflict(r *rig) {
	service := r.service("conflict")
	resolver := r.resolver(telemetry.Off())
	i := instance(service, "a")
	first := r.registered(r.registrar(telemetry.Off()), i)
	i.Zone = "the later one"
	second := r.registered(r.registrar(telemetry.Off()), i)
	r.eventually("the end of the earlier registration", func() error {
		if err := first.Check(r.Context()); !errors.Is(err, discovery.ErrConflict) {
			return fmt.Errorf("the error of Check is %w, want ErrConflict", err)
		}
		return nil
	})
	r.is(first.Close(), nil, "Close of the earlier registration")
	r.looksUp(resolver, service, i)
	r.is(second.Check(r.Context()), nil, "Check of the later registration")
}

// fleet is a service of several processes, and a Resolver that must never be without more than one of them.
type fleet struct {
	*rig
	service       string
	registrations []*discovery.Registration
	resolver      *discovery.Resolver
	fewest        atomic.Int64
}

const fleetSize = 3

func (r *rig) fleet(service string) *fleet {
	r.Helper()
	f := &fleet{rig: r, service: service, resolver: r.resolver(r.Providers)}
	for n := range fleetSize {
		f.registrations = append(f.registrations, r.registered(r.registrar(r.Providers), instance(service, fmt.Sprintf("i%d", n))))
	}
	r.eventually("all instances", func() error {
		if n := f.look(); n != fleetSize {
			return fmt.Errorf("%d instances", n)
		}
		return nil
	})
	f.fewest.Store(fleetSize)
	r.start(func(ctx context.Context) error {
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-tick.C:
				f.fewest.Store(min(f.fewest.Load(), int64(f.look())))
			case <-ctx.Done():
				tick.Stop()
				return nil
			}
		}
	})
	return f
}

// look returns how many instances the Resolver has.
func (f *fleet) look() int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	snapshot, err := f.resolver.Lookup(ctx, f.service)
	if err != nil {
		return 0
	}
	return len(snapshot.Instances)
}

// returns fails the test unless all instances are in the registry again within d.
func (f *fleet) returns(d time.Duration) {
	f.Helper()
	began := time.Now()
	v := f.watch(f.service).sync()
	defer v.stop()
	f.within(d, "all instances to be registered again", func() (err error) {
		for n, g := range f.registrations {
			if failed := g.Check(f.Context()); failed != nil {
				err = errors.Join(err, fmt.Errorf("i%d: %w", n, failed))
			}
		}
		for {
			if _, ok := v.take(time.Millisecond); !ok {
				break
			}
		}
		if len(v.records) != fleetSize {
			err = errors.Join(err, fmt.Errorf("the registry has %s", v))
		}
		return err
	})
	f.Logf("registered again within %s", time.Since(began).Round(time.Millisecond))
}

// fleetRemoved removes records by hand: one of them, and then all at once.
func fleetRemoved(r *rig) {
	f := r.fleet(r.service("emptied"))
	for _, n := range []int{1, fleetSize} {
		for i := range n {
			r.Remove(r, f.service, fmt.Sprintf("i%d", i))
		}
		f.returns(r.ttl)
	}
	if n := f.fewest.Load(); n < fleetSize-1 {
		r.Errorf("a Resolver had %d of %d instances after their records were removed", n, fleetSize)
	}
}

// outlasts makes a fault last longer than the leases. The Resolver keeps all instances, and they are registered again within a TTL of the end.
func (r *rig) outlasts(begin, end func(testing.TB)) {
	f := r.fleet(r.service("fleet"))
	begin(r)
	r.pass(r.ttl + r.late())
	if n := f.fewest.Load(); n < fleetSize {
		r.Errorf("a Resolver had %d of %d instances during a fault", n, fleetSize)
	}
	end(r)
	r.recovers(r.service("probe"), "i") // the engine answers
	f.returns(r.ttl)
	if n := f.fewest.Load(); n < fleetSize-1 {
		r.Errorf("a Resolver had %d of %d instances after a fault", n, fleetSize)
	}
}
