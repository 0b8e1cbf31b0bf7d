package kvdiscovery_test

import (
	"context"
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

// skewed is the registry of a process with a wrong clock. A Registrar uses the wall clock for epochs only.
type skewed struct {
	driver.Registrar
	by time.Duration
}

func (s skewed) Grant(ctx context.Context, ttl time.Duration) (driver.Lease, error) {
	l, err := s.Registrar.Grant(ctx, ttl)
	return skewedLease{l, s.by}, err
}

type skewedLease struct {
	driver.Lease
	by time.Duration
}

func (l skewedLease) Epoch(ctx context.Context, service, id string, least uint64) (uint64, error) {
	return l.Lease.Epoch(ctx, service, id, uint64(int64(least)+l.by.Milliseconds()))
}

// TestClocks starts two processes with one ID and different clocks. The later start wins at once, and after the records were wiped; so does
// a third one.
func TestClocks(t *testing.T) {
	for _, offsets := range [][3]time.Duration{
		{0, 0, 0}, {10 * time.Minute, 0, -10 * time.Minute}, {-10 * time.Minute, 10 * time.Minute, 0}, {24 * time.Hour, -24 * time.Hour, time.Minute},
	} {
		t.Run(fmt.Sprint(offsets), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { clocks(t, offsets) }) })
	}
}

func clocks(t *testing.T, offsets [3]time.Duration) {
	store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	defer func() { _ = store.Close() }()
	registry, err := kvdiscovery.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	var earlier *discovery.Registration
	for n, offset := range offsets {
		registrar, err := discovery.NewRegistrar(skewed{registry, offset}, &discovery.RegistrarOptions{Telemetry: telemetry.Off()})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = registrar.Close() }()
		g, err := registrar.Register(t.Context(), discovery.Instance{
			Service: "orders", ID: "i0", Weight: 1, Addresses: map[string]string{"grpc": fmt.Sprintf("10.0.0.%d:1", n+1)},
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := g.Check(t.Context()); err != nil {
			t.Fatalf("start %d: %v", n, err)
		}
		if earlier != nil {
			if err := earlier.Check(t.Context()); !errors.Is(err, discovery.ErrConflict) {
				t.Errorf("start %d: the earlier process: %v, want ErrConflict", n, err)
			}
		}
		if err := store.Delete(t.Context(), "orders/i0"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := g.Check(t.Context()); err != nil {
			t.Errorf("start %d, a minute after the records were wiped: %v", n, err)
		}
		earlier = g
	}
}
