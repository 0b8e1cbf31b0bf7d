package kvdiscovery_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/telemetry"
)

const (
	ttl       = 3 * time.Second
	instances = 3
)

// fleet is a service of several instances in one etcd cluster, and a reader that must never be without one of them.
type fleet struct {
	t             *testing.T
	client        *clientv3.Client
	registrations []*discovery.Registration
	resolver      *discovery.Resolver
	fewest        atomic.Int64
}

func newFleet(t *testing.T, endpoints []string) *fleet {
	t.Helper()
	f := &fleet{t: t, client: connect(t, endpoints)}
	f.fewest.Store(instances)
	for n := range instances { // each is a process with a client of its own
		registrar, err := discovery.NewRegistrar(registry(t, connect(t, endpoints)), &discovery.RegistrarOptions{TTL: ttl, Telemetry: telemetry.Off()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := registrar.Close(); err != nil {
				t.Error(err)
			}
		})
		g, err := registrar.Register(t.Context(), discovery.Instance{
			Service: "orders", ID: fmt.Sprint("i", n), Weight: 1, Addresses: map[string]string{"grpc": fmt.Sprintf("10.0.0.%d:9000", n+1)},
		})
		if err != nil {
			t.Fatal(err)
		}
		f.registrations = append(f.registrations, g)
	}
	resolver, err := discovery.NewResolver(registry(t, connect(t, endpoints)), &discovery.ResolverOptions{HoldWindow: ttl, Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := resolver.Close(); err != nil {
			t.Error(err)
		}
	})
	f.resolver = resolver
	testenv.Eventually(t, 10*time.Second, "all are found", func() error { return f.complete() })
	go f.look()
	return f
}

func connect(t *testing.T, endpoints []string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, Logger: zap.NewNop(), DialTimeout: 5 * time.Second, DialKeepAliveTime: 5 * time.Second, DialKeepAliveTimeout: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func registry(t *testing.T, client *clientv3.Client) *kvdiscovery.Registry {
	t.Helper()
	store := kv.New(etcdkv.New(client, nil), &kv.Options{Telemetry: telemetry.Off()})
	t.Cleanup(func() { _ = store.Close() })
	r, err := kvdiscovery.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// complete returns nil if the reader has all instances.
func (f *fleet) complete() error {
	s, err := f.resolver.Lookup(f.t.Context(), "orders")
	if err == nil && len(s.Instances) != instances {
		err = fmt.Errorf("%d instances, want %d", len(s.Instances), instances)
	}
	return err
}

// look asks for the instances until the test ends, and keeps the least number that it has found.
func (f *fleet) look() {
	for tick := time.NewTicker(5 * time.Millisecond); f.t.Context().Err() == nil; <-tick.C {
		if s, err := f.resolver.Lookup(f.t.Context(), "orders"); err == nil {
			f.fewest.Store(min(f.fewest.Load(), int64(len(s.Instances))))
		}
	}
}

// recovered fails unless all instances are registered again within a TTL, and the reader was never without more than one of them.
func (f *fleet) recovered(fault string) {
	f.t.Helper()
	began := time.Now()
	testenv.Eventually(f.t, ttl, "all are registered again", func() (err error) {
		for _, g := range f.registrations {
			err = errors.Join(err, g.Check(f.t.Context()))
		}
		return err
	})
	testenv.Eventually(f.t, ttl, "the registry has all", func() error {
		resp, err := f.client.Get(f.t.Context(), "orders/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err == nil && resp.Count != instances {
			err = fmt.Errorf("%d records", resp.Count)
		}
		return err
	})
	f.t.Logf("%s: registered again after %v, never fewer than %d of %d instances", fault, time.Since(began).Round(time.Millisecond), f.fewest.Load(), instances)
	if f.fewest.Load() < instances-1 {
		f.t.Errorf("%s: the reader had %d instances", fault, f.fewest.Load())
	}
	f.fewest.Store(instances)
}

// TestFaultsOfEtcd kills, stops and wipes a cluster of three nodes, each for longer than every lease.
func TestFaultsOfEtcd(t *testing.T) {
	cluster := testenv.EtcdCluster(t, 3)
	f := newFleet(t, cluster.Endpoints())

	cluster.KillLeader()
	testenv.Eventually(t, 20*time.Second, "another leader", func() error {
		_, err := f.client.Get(t.Context(), "leader")
		return err
	})
	f.recovered("leader killed")
	cluster.Restart()

	cluster.Kill()
	time.Sleep(3 * ttl)
	if err := f.complete(); err != nil {
		t.Errorf("while etcd is down: %v", err)
	}
	cluster.Restart()
	f.recovered("all killed")

	cluster.Pause()
	time.Sleep(3 * ttl)
	cluster.Resume()
	testenv.Eventually(t, 20*time.Second, "etcd answers", func() error {
		_, err := f.client.Get(t.Context(), "answer")
		return err
	})
	f.recovered("all stopped")

	resp, err := f.client.Delete(t.Context(), "orders/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.client.Compact(t.Context(), resp.Header.Revision); err != nil {
		t.Fatal(err)
	}
	f.recovered("wiped and compacted")
}
