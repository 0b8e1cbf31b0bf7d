package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// brokenRegistry is a registry that can stop answering.
type brokenRegistry struct {
	*kvdiscovery.Registry
	broken   atomic.Bool // it does not answer
	refusing atomic.Bool // it takes no records
}

var errBroken = fmt.Errorf("%w: connection refused", driver.ErrUnavailable)

func (r *brokenRegistry) Grant(ctx context.Context, ttl time.Duration) (driver.Lease, error) {
	if r.broken.Load() {
		return nil, errBroken
	}
	l, err := r.Registry.Grant(ctx, ttl)
	return &brokenLease{l, r}, err
}

func (r *brokenRegistry) Watch(ctx context.Context, service string, emit func(driver.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return r.Registry.Watch(ctx, service, func(e driver.Event) error {
		if r.broken.Load() {
			return errBroken
		}
		return emit(e)
	})
}

type brokenLease struct {
	driver.Lease
	registry *brokenRegistry
}

func (l *brokenLease) Renew(ctx context.Context) error {
	if l.registry.broken.Load() {
		return errBroken
	}
	return l.Lease.Renew(ctx)
}

func (l *brokenLease) Register(ctx context.Context, r driver.Record) error {
	if l.registry.refusing.Load() {
		return errBroken
	}
	return l.Lease.Register(ctx, r)
}

// runDiscovery registers instances that drain, become unhealthy, vanish and return, and looks them up.
func runDiscovery(ctx context.Context, r *record) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "teledoc")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.WriteFile(filepath.Join(dir, "orders.json"), []byte("{"), 0o600); err != nil {
		return err
	}
	store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	defer func() { _ = store.Close() }()
	registry, err := kvdiscovery.New(store, nil)
	if err != nil {
		return err
	}
	d := discoveryRun{record: r, store: store, registry: &brokenRegistry{Registry: registry}}
	return errors.Join(d.open(dir), d.run(ctx), d.close(ctx))
}

// discoveryRun is a process that registers and looks up.
type discoveryRun struct {
	record    *record
	store     *kv.Store
	registry  *brokenRegistry
	ill       atomic.Bool
	registrar *discovery.Registrar
	resolver  *discovery.Resolver
}

func (d *discoveryRun) open(dir string) (err error) {
	p := d.record.providers()
	d.registrar, err = discovery.NewRegistrar(d.registry, &discovery.RegistrarOptions{
		TTL: 300 * time.Millisecond, Telemetry: p, HealthInterval: 10 * time.Millisecond,
		Health: func(context.Context) error {
			if d.ill.Load() {
				return errDemo
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	d.resolver, err = discovery.NewResolver(d.registry, &discovery.ResolverOptions{SnapshotDir: dir, Telemetry: p})
	return err
}

func (d *discoveryRun) run(ctx context.Context) error {
	_, _ = d.resolver.Lookup(ctx, "payments")
	first, err := d.register(ctx, "a")
	if err != nil {
		return err
	}
	second, err := d.register(ctx, "b")
	if err != nil {
		return err
	}
	if _, err := d.resolver.Lookup(ctx, "orders"); err != nil {
		return err
	}
	d.ill.Store(true)
	if err := until(ctx, func() bool { return d.status().States[discovery.Unhealthy] == 2 }); err != nil {
		return err
	}
	if _, err := d.store.Put(ctx, "orders/invalid", []byte("?")); err != nil {
		return err
	}
	if err := second.Drain(ctx); err != nil {
		return err
	}
	return d.failures(ctx, first, second)
}

// until waits for a condition.
func until(ctx context.Context, met func() bool) error {
	for !met() {
		if err := backoff.Sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (d *discoveryRun) register(ctx context.Context, id string) (*discovery.Registration, error) {
	return d.registrar.Register(ctx, discovery.Instance{Service: "orders", ID: id, Weight: 1, Addresses: map[string]string{"grpc": "10.0.0.7:9000"}})
}

// status returns what the Resolver knows of the service.
func (d *discoveryRun) status() discovery.Status {
	for _, s := range d.resolver.Status() {
		if s.Service == "orders" {
			return s
		}
	}
	return discovery.Status{}
}

// failures ends the lease, has other instances vanish and another process take the place of one, and collects the metrics.
func (d *discoveryRun) failures(ctx context.Context, first, second *discovery.Registration) error {
	d.registry.refusing.Store(true)
	if err := d.store.Delete(ctx, "orders/a"); err != nil {
		return err
	}
	if err := until(ctx, func() bool { return errors.Is(first.Check(ctx), errBroken) }); err != nil {
		return err
	}
	d.registry.refusing.Store(false)
	if err := until(ctx, func() bool { return first.Check(ctx) == nil }); err != nil {
		return err
	}
	d.registry.broken.Store(true)
	if err := until(ctx, func() bool { return errors.Is(first.Check(ctx), errBroken) }); err != nil {
		return err
	}
	time.Sleep(400 * time.Millisecond) // the records end with the lease
	d.registry.broken.Store(false)
	if err := until(ctx, func() bool { return first.Check(ctx) == nil && d.status().Age == 0 && len(d.status().Held) == 0 }); err != nil {
		return err
	}
	if err := d.vanish(ctx); err != nil {
		return err
	}
	if err := d.supersede(ctx, second); err != nil {
		return err
	}
	if err := d.record.collect(ctx); err != nil {
		return err
	}
	before := d.status().Instances
	return errors.Join(first.Close(), until(ctx, func() bool { return d.status().Instances < before }))
}

// vanish has instances of other processes vanish: the first one is removed, the others are too many and are held.
func (d *discoveryRun) vanish(ctx context.Context) error {
	before := d.status().Instances
	ids := []string{"c", "d", "e"}
	for _, id := range ids {
		if _, err := d.store.Put(ctx, "orders/"+id, []byte(`{"addresses":{"grpc":"10.0.0.9:1"},"weight":1,"state":"up"}`)); err != nil {
			return err
		}
	}
	if err := until(ctx, func() bool { return d.status().Instances == before+len(ids) }); err != nil {
		return err
	}
	for _, id := range ids {
		if err := d.store.Delete(ctx, "orders/"+id); err != nil {
			return err
		}
	}
	return until(ctx, func() bool { return len(d.status().Held) == len(ids) })
}

// supersede registers an instance in another process.
func (d *discoveryRun) supersede(ctx context.Context, instance *discovery.Registration) error {
	other, err := discovery.NewRegistrar(d.registry, &discovery.RegistrarOptions{TTL: time.Second, Telemetry: telemetry.Off()})
	if err != nil {
		return err
	}
	defer func() { _ = other.Close() }()
	if _, err := other.Register(ctx, instance.Instance()); err != nil {
		return err
	}
	return until(ctx, func() bool { return errors.Is(instance.Check(ctx), discovery.ErrConflict) })
}

func (d *discoveryRun) close(context.Context) error {
	return errors.Join(d.registrar.Close(), d.resolver.Close())
}
