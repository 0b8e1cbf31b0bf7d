package versions_test

import (
	"context"
	"testing"

	"github.com/go-os/go-os/control/config/configtest"
	"github.com/go-os/go-os/control/config/versions"
	"github.com/go-os/go-os/internal/tooling/configtesting"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// TestContract runs the contract of a source on an engine in memory.
func TestContract(t *testing.T) {
	for name, open := range map[string]func(testing.TB, *kv.Store) configtest.Fixture{"key": keyFixture, "published": publishedFixture} {
		t.Run(name, func(t *testing.T) {
			configtest.Run(t, configtest.Backend{Open: func(t testing.TB) configtest.Fixture { return open(t, newStore(t, memkv.New(nil))) }})
		})
	}
}

// TestContractEtcd runs the contract on etcd behind a network that can be cut.
func TestContractEtcd(t *testing.T) {
	engine := testenv.Etcd(t)
	network := testenv.Proxy(t, engine.Endpoint())
	open := func(t testing.TB, fixture func(testing.TB, *kv.Store) configtest.Fixture) configtest.Fixture {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{network.Endpoint()}, Logger: zap.NewNop()})
		must(t, err)
		_, err = client.Delete(t.Context(), "\x00", clientv3.WithFromKey())
		must(t, err)
		store := kv.New(etcdkv.New(client, nil), &kv.Options{Telemetry: telemetry.Off()})
		t.Cleanup(func() { _, _ = store.Close(), client.Close() })
		f := fixture(t, store)
		f.Break, f.Heal, f.Requests = network.Cut, network.Heal, engine.Requests
		return f
	}
	t.Run("key", func(t *testing.T) {
		configtest.Run(t, configtest.Backend{Open: func(t testing.TB) configtest.Fixture { return open(t, keyFixture) }})
	})
	t.Run("published", func(t *testing.T) {
		configtest.Run(t, configtest.Backend{Open: func(t testing.TB) configtest.Fixture { return open(t, publishedFixture) }})
	})
}

func keyFixture(t testing.TB, store *kv.Store) configtest.Fixture {
	f := configtest.Fixture{
		Source: versions.Key(store, "a.yaml", nil),
		Write: func(text string) {
			configtesting.Eventually(t, "written", func() bool {
				_, err := store.Put(context.Background(), "a.yaml", []byte(text))
				return err == nil
			})
		},
		Remove: func() { must(t, store.Delete(context.Background(), "a.yaml")) },
	}
	f.Write("a: 1\n")
	return f
}

func publishedFixture(t testing.TB, store *kv.Store) configtest.Fixture {
	v := versionsIn(t, store, nil)
	f := configtest.Fixture{
		Source: versions.Published(store, &versions.PublishedOptions{Layers: []string{layer}}),
		Write: func(text string) {
			configtesting.Eventually(t, "published", func() bool {
				_, err := v.Publish(context.Background(), draft(text))
				return err == nil
			})
		},
		Remove: func() { must(t, store.Delete(context.Background(), layer+"/head")) },
	}
	f.Write("a: 1\n")
	return f
}
