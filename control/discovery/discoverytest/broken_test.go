package discoverytest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// space is a registry in memory, behind a network that can be cut and can hold back a request.
type space struct {
	store    *kv.Store
	registry *kvdiscovery.Registry
	requests atomic.Int64

	mu     sync.Mutex
	cut    chan struct{} // closed while the network is cut
	healed chan struct{} // closed by heal
	hold   *held         // nil for none
}

// held is a request that is held back.
type held struct {
	service       string
	pass          int // requests that are not held
	arrived, open chan struct{}
}

func newSpace(t testing.TB) *space {
	store := kv.New(memkv.New(&memkv.Options{MaxValue: 1 << 20}), &kv.Options{Telemetry: telemetry.Off()})
	registry, err := kvdiscovery.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &space{store: store, registry: registry, cut: make(chan struct{})}
}

func (s *space) setCut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.healed = make(chan struct{})
	close(s.cut)
}

func (s *space) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = make(chan struct{})
	close(s.healed)
}

func (s *space) network() (cut, healed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut, s.healed
}

func (s *space) broken() bool {
	cut, _ := s.network()
	select {
	case <-cut:
		return true
	default:
		return false
	}
}

var errCut = fmt.Errorf("%w: the network is cut", driver.ErrUnavailable)

// request returns when a request about a service has reached the registry.
func (s *space) request(service string) error {
	s.requests.Add(1)
	if s.broken() {
		return errCut
	}
	if open := s.holds(service); open != nil {
		<-open
	}
	return nil
}

func (s *space) holds(service string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold == nil || s.hold.service != service {
		return nil
	}
	if s.hold.pass > 0 {
		s.hold.pass--
		return nil
	}
	close(s.hold.arrived)
	open := s.hold.open
	s.hold = nil
	return open
}

func (s *space) holdBack(_ testing.TB, service string, n int) (<-chan struct{}, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &held{service, n - 1, make(chan struct{}), make(chan struct{})}
	s.hold = h
	return h.arrived, func() { close(h.open) }
}

// write writes a record by hand.
func (s *space) write(t testing.TB, r driver.Record) {
	value, err := json.Marshal(map[string]any{
		"version": r.Version, "addresses": r.Addresses, "zone": r.Zone, "weight": r.Weight, "labels": r.Labels,
		"state": r.State.String(), "incarnation": r.Incarnation, "epoch": r.Epoch,
	})
	if err == nil {
		_, err = s.store.Put(context.Background(), r.Service+"/"+r.ID, value)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (s *space) remove(service, id string) error {
	return s.store.Delete(context.Background(), service+"/"+id)
}

// present returns the records of a service.
func (s *space) present(service string) map[string]driver.Record {
	all, synced := map[string]driver.Record{}, errors.New("synced")
	_ = s.registry.Watch(context.Background(), service, func(e driver.Event) error {
		switch e.Kind {
		case driver.EventPut:
			all[e.Record.ID] = e.Record
		case driver.EventSynced:
			return synced
		}
		return nil
	})
	return all
}

// broken is a driver with one broken promise. A field that is set replaces the method.
type broken struct {
	*space
	grant    func(context.Context, time.Duration) (driver.Lease, error)
	watch    func(context.Context, string, func(driver.Event) error) error
	services func(context.Context) ([]string, error)
	lease    func(*brokenLease)
}

func (b *broken) System() string                    { return b.registry.System() }
func (b *broken) Capabilities() driver.Capabilities { return b.registry.Capabilities() }
func (*broken) Close() error                        { return nil }

func (b *broken) Services(ctx context.Context) ([]string, error) {
	if b.services != nil {
		return b.services(ctx)
	}
	return b.registry.Services(ctx)
}

func (b *broken) Grant(ctx context.Context, ttl time.Duration) (driver.Lease, error) {
	if err := b.request(""); err != nil {
		return nil, err
	}
	grant := b.registry.Grant
	if b.grant != nil {
		grant = b.grant
	}
	l, err := grant(ctx, ttl)
	if err != nil {
		return nil, err
	}
	wrapped := &brokenLease{Lease: l, broken: b}
	if b.lease != nil {
		b.lease(wrapped)
	}
	return wrapped, nil
}

// Watch reconnects when the network is cut.
func (b *broken) Watch(ctx context.Context, service string, emit func(driver.Event) error) error {
	if b.watch != nil {
		return b.watch(ctx, service, emit)
	}
	return b.reconnecting(ctx, service, emit)
}

func (b *broken) reconnecting(ctx context.Context, service string, emit func(driver.Event) error) error {
	for {
		b.requests.Add(1)
		if err := b.connected(ctx, service, emit); !errors.Is(err, errCut) {
			return err
		}
		if err := emit(driver.Event{Kind: driver.EventLost, Err: errCut}); err != nil {
			return err
		}
		_, healed := b.network()
		select {
		case <-healed:
		case <-ctx.Done():
			return nil
		}
	}
}

// connected watches until the network is cut.
func (b *broken) connected(ctx context.Context, service string, emit func(driver.Event) error) error {
	if b.space.broken() {
		return errCut
	}
	cut, _ := b.network()
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-cut:
			cancel(errCut)
		case <-inner.Done():
		}
	}()
	err := b.registry.Watch(inner, service, emit)
	if err == nil && ctx.Err() == nil {
		return context.Cause(inner)
	}
	return err
}

// filtered is a watch that passes its events through filter, which returns the events to emit instead.
func (b *broken) filtered(filter func(driver.Event) []driver.Event) {
	b.watch = func(ctx context.Context, service string, emit func(driver.Event) error) error {
		return b.reconnecting(ctx, service, func(e driver.Event) error {
			for _, e := range filter(e) {
				if err := emit(e); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// brokenLease is a lease with one broken promise.
type brokenLease struct {
	driver.Lease
	*broken
	renew      func(context.Context) error
	revoke     func(context.Context) error
	epoch      func(context.Context, string, string, uint64) (uint64, error)
	register   func(context.Context, driver.Record) error
	deregister func(context.Context, driver.Record, time.Duration) error
	own        func(context.Context, driver.Record, func()) error
}

func (l *brokenLease) Renew(ctx context.Context) error {
	if l.renew != nil {
		return l.renew(ctx)
	}
	if err := l.request(""); err != nil {
		return err
	}
	return l.Lease.Renew(ctx)
}

func (l *brokenLease) Revoke(ctx context.Context) error {
	if l.revoke != nil {
		return l.revoke(ctx)
	}
	if err := l.request(""); err != nil {
		return err
	}
	return l.Lease.Revoke(ctx)
}

func (l *brokenLease) Epoch(ctx context.Context, service, id string, least uint64) (uint64, error) {
	if l.epoch != nil {
		return l.epoch(ctx, service, id, least)
	}
	if err := l.request(service); err != nil {
		return 0, err
	}
	return l.Lease.Epoch(ctx, service, id, least)
}

func (l *brokenLease) Register(ctx context.Context, r driver.Record) error {
	if l.register != nil {
		return l.register(ctx, r)
	}
	if err := l.request(r.Service); err != nil {
		return err
	}
	return l.Lease.Register(ctx, r)
}

func (l *brokenLease) Deregister(ctx context.Context, r driver.Record, keep time.Duration) error {
	if l.deregister != nil {
		return l.deregister(ctx, r, keep)
	}
	if err := l.request(r.Service); err != nil {
		return err
	}
	return l.Lease.Deregister(ctx, r, keep)
}

func (l *brokenLease) Watch(ctx context.Context, r driver.Record, changed func()) error {
	if l.own != nil {
		return l.own(ctx, r, changed)
	}
	return l.Lease.Watch(ctx, r, changed)
}

// backend returns a Backend in memory with broken drivers.
func backend(spoil func(*broken)) Backend {
	var s *space
	open := func() *broken {
		b := &broken{space: s}
		spoil(b)
		return b
	}
	return Backend{
		FakeClock: true,
		patience:  4 * time.Second,
		Cut:       func(testing.TB) { s.setCut() },
		Heal:      func(testing.TB) { s.heal() },
		Compact:   func(testing.TB) {},
		Requests:  func() int64 { return s.requests.Load() },
		Begin: func(t testing.TB) Registry {
			here := newSpace(t)
			s = here
			return Registry{
				Registrar: func(testing.TB) driver.Registrar { return open() },
				Reader:    func(testing.TB) driver.Reader { return open() },
				Write:     func(t testing.TB, r driver.Record) { here.write(t, r) },
				Remove: func(t testing.TB, service, id string) {
					if err := here.remove(service, id); err != nil {
						t.Fatal(err)
					}
				},
				Spoil: func(t testing.TB, service, id string) string {
					if _, err := here.store.Put(context.Background(), service+"/"+id, []byte("{")); err != nil {
						t.Fatal(err)
					}
					return id
				},
				Hold: here.holdBack,
				End:  func(testing.TB) { _ = here.store.Close() },
			}
		},
	}
}

// TestSound runs the suite against the driver of the other tests of this file while nothing is spoilt.
func TestSound(t *testing.T) { Run(t, backend(func(*broken) {})) }

// TestBroken shows that the suite can fail. The promises that a driver breaks must fail.
func TestBroken(t *testing.T) {
	for name, c := range breakages() {
		t.Run(name, func(t *testing.T) {
			for _, promise := range c.noticed {
				failures := contract(suite.Guarded(backend(c.spoil)), new(Record)).Failures(t, promise)
				if len(failures) == 0 {
					t.Errorf("a driver that %s passes %q", name, promise)
				}
				t.Logf("%s: %.300s", promise, strings.Join(failures, "; "))
			}
		})
	}
}

// TestBreakagesCoverThePromises names each promise that no broken driver breaks.
func TestBreakagesCoverThePromises(t *testing.T) {
	broken := map[string]bool{}
	for _, c := range breakages() {
		for _, promise := range c.noticed {
			broken[promise] = true
		}
	}
	for _, p := range promises() {
		kind, _, _ := strings.Cut(p.Name, "/")
		if !broken[p.Name] && kind != "telemetry" && p.Hook != "Kill" && p.Hook != "Pause" && p.Hook != "Drop" && p.Hook != "KillLeader" && kind != "faults" {
			t.Errorf("no driver breaks %q", p.Name)
		}
	}
}
