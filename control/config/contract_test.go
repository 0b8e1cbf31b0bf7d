package config_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/configtest"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// TestContract is what every source promises.
func TestContract(t *testing.T) {
	for name, b := range map[string]configtest.Backend{
		"file":          {Open: func(t testing.TB) configtest.Fixture { return fileFixture(t, false) }},
		"optional file": {Open: func(t testing.TB) configtest.Fixture { return fileFixture(t, true) }},
		"url":           {Open: urlFixture, Idle: 12},
		"key":           {Open: func(t testing.TB) configtest.Fixture { return keyFixture(t, newStore(t, memkv.New(nil))) }},
		"published":     {Open: func(t testing.TB) configtest.Fixture { return publishedFixture(t, newStore(t, memkv.New(nil))) }},
	} {
		t.Run(name, func(t *testing.T) { configtest.Run(t, b) })
	}
}

// TestContractEtcd is about sources on a real engine behind a network that can be cut.
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

func fileFixture(t testing.TB, optional bool) configtest.Fixture {
	path := filepath.Join(t.TempDir(), "a.yaml")
	f := configtest.Fixture{
		Source:   config.File(path, &config.FileOptions{Optional: optional}),
		Write:    func(text string) { put(t, path, text) },
		Remove:   func() { must(t, os.Remove(path)) },
		Optional: optional,
	}
	f.Write("a: 1\n")
	return f
}

func urlFixture(t testing.TB) configtest.Fixture {
	server := newMoody(t)
	var answer atomic.Pointer[http.HandlerFunc]
	set := func(h http.HandlerFunc) { answer.Store(&h) }
	var broken atomic.Bool
	server.say(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			<-r.Context().Done() // it never answers
			return
		}
		(*answer.Load())(w, r)
	})
	f := configtest.Fixture{
		Source:   config.URL(server.URL+"/a.yaml", &config.URLOptions{Interval: 100 * time.Millisecond}),
		Write:    func(text string) { set(tagged("\""+text[:len(text)-1]+"\"", text)) },
		Remove:   func() { set(http.NotFound) },
		Break:    func() { broken.Store(true) },
		Heal:     func() { broken.Store(false); server.CloseClientConnections() },
		Requests: server.requests.Load,
	}
	f.Write("a: 1\n")
	return f
}

func keyFixture(t testing.TB, store *kv.Store) configtest.Fixture {
	f := configtest.Fixture{
		Source: config.Key(store, "a.yaml", nil),
		Write: func(text string) {
			eventually(t, "written", func() bool {
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
	versions := versionsIn(t, store, nil)
	f := configtest.Fixture{
		Source: config.Published(store, &config.PublishedOptions{Layers: []string{layer}}),
		Write: func(text string) {
			eventually(t, "published", func() bool {
				_, err := versions.Publish(context.Background(), draft(text))
				return err == nil
			})
		},
		Remove: func() { must(t, store.Delete(context.Background(), layer+"/head")) },
	}
	f.Write("a: 1\n")
	return f
}
