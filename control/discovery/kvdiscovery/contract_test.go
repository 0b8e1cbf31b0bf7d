package kvdiscovery_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/go-os/go-os/control/discovery/discoverytest"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
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

// own returns a function that makes a registry of a driver and of what closes its client.
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

// hands returns the hooks of a Registry that write into a store as other programs do.
func hands(store *kv.Store) discoverytest.Registry {
	put := func(t testing.TB, key string, value []byte) {
		t.Helper()
		if _, err := store.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	return discoverytest.Registry{
		Write: func(t testing.TB, r driver.Record) {
			t.Helper()
			value, err := json.Marshal(map[string]any{
				"version": r.Version, "addresses": r.Addresses, "zone": r.Zone, "weight": r.Weight, "labels": r.Labels,
				"state": r.State.String(), "incarnation": r.Incarnation, "epoch": r.Epoch,
			})
			if err != nil {
				t.Fatal(err)
			}
			put(t, r.Service+"/"+r.ID, value)
		},
		Remove: func(t testing.TB, service, id string) {
			t.Helper()
			if err := store.Delete(t.Context(), service+"/"+id); err != nil {
				t.Fatal(err)
			}
		},
		Spoil: func(t testing.TB, service, id string) string {
			t.Helper()
			put(t, service+"/"+id, []byte(`{"state": "up", "addresses": `))
			return id
		},
	}
}

// barrier holds back requests about a service on their way to an engine in memory.
type barrier struct {
	mu      sync.Mutex
	service string // nothing is held if it is empty
	pass    int    // requests that are not held
	held    chan struct{}
	open    chan struct{}
}

// hold implements the hook Hold.
func (b *barrier) hold(_ testing.TB, service string, n int) (<-chan struct{}, func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.service, b.pass, b.held, b.open = service, n-1, make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.service = ""
		close(b.open)
	})
	return b.held, release
}

// wait returns when a request about a key may pass.
func (b *barrier) wait(key string) {
	b.mu.Lock()
	if b.service == "" || !strings.HasPrefix(key, b.service+"/") {
		b.mu.Unlock()
		return
	}
	if b.pass > 0 {
		b.pass--
		b.mu.Unlock()
		return
	}
	select {
	case <-b.held:
	default:
		close(b.held)
	}
	open := b.open
	b.mu.Unlock()
	<-open
}

// way is a driver whose requests pass a barrier. Closing it leaves the engine open.
type way struct {
	*memkv.Driver
	barrier *barrier
}

func (w *way) Close() error { return nil }

func (w *way) Get(ctx context.Context, key string) (kvdriver.Item, error) {
	w.barrier.wait(key)
	return w.Driver.Get(ctx, key)
}

func (w *way) Put(ctx context.Context, req kvdriver.PutRequest) (kvdriver.Version, error) {
	w.barrier.wait(req.Key)
	return w.Driver.Put(ctx, req)
}

func TestContractMemory(t *testing.T) {
	discoverytest.Run(t, discoverytest.Backend{
		Record:    "testdata/contract-memory.json",
		FakeClock: true,
		Begin: func(t testing.TB) discoverytest.Registry {
			engine := memkv.New(nil)
			store := kv.New(engine, &kv.Options{Telemetry: telemetry.Off()})
			gate := &barrier{}
			registry := hands(store)
			open := func(t testing.TB) *owner { return own(t)(&way{engine, gate}, func() {}) }
			registry.Registrar = func(t testing.TB) driver.Registrar { return open(t) }
			registry.Reader = func(t testing.TB) driver.Reader { return open(t) }
			registry.Hold = gate.hold
			registry.End = func(t testing.TB) {
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			}
			return registry
		},
	})
}
