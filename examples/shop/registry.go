package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/examples/internal/engine"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/telemetry"
)

const (
	// instanceTTL is how long a killed instance stays in the registry, unless the engine takes longer TTLs only.
	instanceTTL = 5 * time.Second
	// announceTime is how long a draining instance still takes requests, so that its callers see that it drains.
	announceTime = 100 * time.Millisecond
)

// names are the services of the shop, callers first.
var names = []string{"storefront", "orders", "payments"}

// registry is where the instances of the services register, and where their callers find them.
type registry struct {
	*kvdiscovery.Registry
	engine *engine.Engine
	ttl    time.Duration
}

// openRegistry opens the registry that a URL names. The registrars and resolvers on it observe it, so its store does not.
func openRegistry(ctx context.Context, where string) (*registry, error) {
	e, err := engine.Open(ctx, where, engine.Options{
		Flag: "-discovery", Schemes: []string{memory, "etcd", "consul", "nats"}, Within: engineWithin,
		Store: kv.Options{Name: "discovery", Telemetry: telemetry.Off()},
	})
	if err != nil {
		return nil, usage(err)
	}
	r, err := kvdiscovery.New(e.Namespace("shop/services"), nil)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return &registry{Registry: r, engine: e, ttl: max(instanceTTL, r.Capabilities().MinTTL)}, nil
}

// join gives a service a registrar and a resolver of its own.
func (s *service) join(r *registry) (err error) {
	s.registrar, err = discovery.NewRegistrar(r, &discovery.RegistrarOptions{TTL: r.ttl, Telemetry: s.pipeline.Providers()})
	if err != nil {
		return err
	}
	s.resolver, err = r.resolver(s.pipeline.Providers())
	return err
}

func (r *registry) resolver(t telemetry.Providers) (*discovery.Resolver, error) {
	return discovery.NewResolver(r, &discovery.ResolverOptions{HoldWindow: r.ttl, Telemetry: t})
}

// register makes an instance of the service visible to its callers.
func (s *service) register(ctx context.Context, protocol, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	registration, err := s.registrar.Register(ctx, discovery.Instance{
		Service: s.name, ID: instance(port), Addresses: map[string]string{protocol: address},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	s.registrations = append(s.registrations, registration)
	return nil
}

// know gives a service the address of a service in another process. That is for a registry in memory, which no other process
// shares.
func (s *service) know(ctx context.Context, peer, protocol, address string) error {
	_, err := s.registrar.Register(ctx, discovery.Instance{
		Service: peer, ID: "by-flag", Addresses: map[string]string{protocol: address},
	})
	return err
}

// leave announces that the instances drain. Without an answer of the registry, callers notice when the listeners close.
func (s *service) leave(ctx context.Context) error {
	if len(s.registrations) == 0 {
		return nil
	}
	announce, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for _, registration := range s.registrations {
		if err := registration.Drain(announce); err != nil {
			s.pipeline.Logger().WarnContext(ctx, "drain not announced", slog.Any("error", err))
		}
	}
	return work(ctx, announceTime)
}

// goodbye removes the instances from the registry.
func (s *service) goodbye(context.Context) error {
	var errs []error
	if s.registrar != nil {
		errs = append(errs, s.registrar.Close())
	}
	if s.router != nil {
		errs = append(errs, s.router.Close())
	}
	if s.resolver != nil {
		errs = append(errs, s.resolver.Close())
	}
	return errors.Join(errs...)
}

// instances lists the instances of all services and their states, for people.
func (s *shop) instances() [][]string {
	rows := [][]string{{"service", "instance", "address", "state"}}
	ended, cancel := context.WithCancel(context.Background())
	cancel() // the known addresses suffice
	for _, status := range s.finder.Status() {
		snapshot, err := s.finder.Lookup(ended, status.Service)
		if err != nil {
			continue // nothing is known of it
		}
		for n, i := range snapshot.Instances {
			rows = append(rows, []string{i.Service, i.ID, addressOf(i), stateOf(snapshot, n)})
		}
	}
	return rows
}

// stateOf returns the state of an instance of a snapshot.
func stateOf(s *discovery.Snapshot, n int) string {
	if s.IsHeld(n) {
		return "held: its record has vanished"
	}
	return s.Instances[n].State.String()
}

// addressOf returns the only address of an instance.
func addressOf(i discovery.Instance) string {
	for _, address := range i.Addresses {
		return address
	}
	return ""
}

// follow prints the changes of a service's instances in other processes, until ctx ends.
func (s *shop) follow(ctx context.Context, service string) {
	for change, err := range s.finder.Watch(ctx, service) {
		if err != nil {
			return // the shop has ended
		}
		for n, i := range change.Snapshot.Instances {
			is := func(other discovery.Instance) bool { return other.ID == i.ID }
			if slices.ContainsFunc(change.Added, is) || slices.ContainsFunc(change.Updated, is) {
				s.news(i, stateOf(change.Snapshot, n))
			}
		}
		for _, i := range change.Removed {
			s.news(i, "gone")
		}
	}
}

func (s *shop) news(i discovery.Instance, state string) {
	if !strings.HasPrefix(i.ID, instance("")) {
		s.console.note("%s %s at %s is %s\n", i.Service, i.ID, addressOf(i), state)
	}
}
