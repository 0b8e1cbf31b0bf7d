package kvdiscovery_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-os/go-os/control/discovery/discoverytest"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/internal/tooling/recordtest"
	"github.com/go-os/go-os/state/kv"
	kvdriver "github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// owner closes the store and the client with the registry. Each registry has its own, so that leaks are detected.
type owner struct {
	*kvdiscovery.Registry
	store       *kv.Store
	closeClient func()
}

func (o *owner) Close() error {
	defer o.closeClient()
	return errors.Join(o.Registry.Close(), o.store.Close())
}

// own returns a function that makes a registry of a driver and a function that closes its client.
func own(t testing.TB) func(kvdriver.Driver, func()) *owner {
	return func(d kvdriver.Driver, closeClient func()) *owner {
		t.Helper()
		store := kv.New(d, &kv.Options{Telemetry: telemetry.Off()})
		registry, err := kvdiscovery.New(store, nil)
		if err != nil {
			t.Fatal(err)
		}
		return &owner{registry, store, closeClient}
	}
}

// network simulates the network between drivers and an engine in memory. It can hold requests back, and be cut.
type network struct {
	engine *memkv.Driver

	mu      sync.Mutex
	service string // service with held requests; empty for none
	pass    int    // requests that are not held
	held    chan struct{}
	open    chan struct{}
	cut     chan struct{} // closed while the network is cut
}

func newNetwork() *network {
	return &network{engine: memkv.New(&memkv.Options{MaxValue: 1 << 20}), cut: make(chan struct{})}
}

// Cut refuses requests and ends watches until Heal.
func (n *network) Cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.cut)
}

func (n *network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = make(chan struct{})
}

func (n *network) broken() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut
}

// hold implements the hook Hold.
func (n *network) hold(_ testing.TB, service string, nth int) (<-chan struct{}, func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.service, n.pass, n.held, n.open = service, nth-1, make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.service = ""
		close(n.open)
	})
	return n.held, release
}

var errCut = fmt.Errorf("%w: the network is cut", kvdriver.ErrUnavailable)

// cross returns when a request about a key has reached the engine.
func (n *network) cross(key string) error {
	select {
	case <-n.broken():
		return errCut
	default:
	}
	if open := n.holds(key); open != nil {
		<-open
	}
	return nil
}

// holds returns the channel that a request waits for; nil for none.
func (n *network) holds(key string) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.service == "" || !strings.HasPrefix(key, n.service+"/") {
		return nil
	}
	if n.pass > 0 {
		n.pass--
		return nil
	}
	select {
	case <-n.held:
	default:
		close(n.held)
	}
	return n.open
}

// way is a driver that reaches the engine by the network. Closing it leaves the engine open.
type way struct {
	*memkv.Driver
	network *network
}

func (w *way) Close() error { return nil }

func (w *way) Get(ctx context.Context, key string) (kvdriver.Item, error) {
	if err := w.network.cross(key); err != nil {
		return kvdriver.Item{}, err
	}
	return w.Driver.Get(ctx, key)
}

func (w *way) Put(ctx context.Context, req kvdriver.PutRequest) (kvdriver.Version, error) {
	if err := w.network.cross(req.Key); err != nil {
		return 0, err
	}
	return w.Driver.Put(ctx, req)
}

func (w *way) Grant(ctx context.Context, ttl time.Duration) (kvdriver.LeaseID, error) {
	if err := w.network.cross(""); err != nil {
		return "", err
	}
	return w.Driver.Grant(ctx, ttl)
}

func (w *way) Renew(ctx context.Context, id kvdriver.LeaseID) error {
	if err := w.network.cross(""); err != nil {
		return err
	}
	return w.Driver.Renew(ctx, id)
}

func (w *way) Revoke(ctx context.Context, id kvdriver.LeaseID) error {
	if err := w.network.cross(""); err != nil {
		return err
	}
	return w.Driver.Revoke(ctx, id)
}

// Watch ends when the network is cut.
func (w *way) Watch(ctx context.Context, req kvdriver.WatchRequest, emit func(kvdriver.Event) error) error {
	if err := w.network.cross(""); err != nil {
		return err
	}
	broken := w.network.broken()
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-broken:
			cancel(errCut)
		case <-inner.Done():
		}
	}()
	err := w.Driver.Watch(inner, req, emit)
	if ctx.Err() == nil && errors.Is(context.Cause(inner), errCut) {
		return errCut
	}
	return err
}

// TestContractMemory runs the suite in memory. Each promise has an engine of its own.
func TestContractMemory(t *testing.T) {
	var n *network
	discoverytest.Run(t, discoverytest.Backend{
		Record:    "testdata/contract-memory.json",
		FakeClock: true,
		Cut:       func(testing.TB) { n.Cut() },
		Heal:      func(testing.TB) { n.Heal() },
		Compact:   func(testing.TB) { n.engine.Compact() },
		Begin: func(testing.TB) discoverytest.Registry {
			n = newNetwork()
			here := n
			store := kv.New(here.engine, &kv.Options{Telemetry: telemetry.Off()})
			registry := recordtest.Hooks(store)
			open := func(t testing.TB) *owner { return own(t)(&way{here.engine, here}, func() {}) }
			registry.Registrar = func(t testing.TB) driver.Registrar { return open(t) }
			registry.Reader = func(t testing.TB) driver.Reader { return open(t) }
			registry.Hold = here.hold
			registry.End = func(t testing.TB) {
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			}
			return registry
		},
	})
}
