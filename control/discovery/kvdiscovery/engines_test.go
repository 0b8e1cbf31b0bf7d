package kvdiscovery_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/control/discovery/discoverytest"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/tooling/recordtest"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/consulkv"
	kvdriver "github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/state/kv/natskv"
	"github.com/go-os/go-os/telemetry"
)

// dial returns the driver of a process, and a function that closes its client.
type dial func(testing.TB) (kvdriver.Driver, func())

// begin returns a Registry with drivers from through, and hooks that use a driver from beside.
func begin(through, beside dial) func(testing.TB) discoverytest.Registry {
	return func(t testing.TB) discoverytest.Registry {
		d, closeClient := beside(t)
		store := kv.New(d, &kv.Options{Telemetry: telemetry.Off()})
		registry := recordtest.Hooks(store)
		registry.Registrar = func(t testing.TB) driver.Registrar { return own(t)(through(t)) }
		registry.Reader = func(t testing.TB) driver.Reader { return own(t)(through(t)) }
		registry.End = func(t testing.TB) {
			defer closeClient()
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		}
		return registry
	}
}

// engine is a server that can be killed and paused.
type engine interface {
	Kill()
	Restart()
	Pause()
	Resume()
}

// faults adds the hooks of an engine and of the network before it.
func faults(b discoverytest.Backend, e engine, network *testenv.ProxyHandle) discoverytest.Backend {
	b.EngineFuncs = testenv.Goroutines()
	b.Kill, b.Revive = func(testing.TB) { e.Kill() }, func(testing.TB) { e.Restart() }
	b.Pause, b.Resume = func(testing.TB) { e.Pause() }, func(testing.TB) { e.Resume() }
	b.Cut, b.Drop, b.Heal = func(testing.TB) { network.Cut() }, func(testing.TB) { network.Drop() }, func(testing.TB) { network.Heal() }
	return b
}

// dialEtcd returns drivers with clients of their own, so that leaks are detected.
func dialEtcd(endpoints ...string) dial {
	return func(t testing.TB) (kvdriver.Driver, func()) {
		t.Helper()
		client, err := clientv3.New(clientv3.Config{
			Endpoints: endpoints, Logger: zap.NewNop(), DialTimeout: 5 * time.Second, DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 2 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		return etcdkv.New(client, nil), func() { _ = client.Close() }
	}
}

// TestContractEtcd runs the suite against one etcd behind a network that can be cut.
func TestContractEtcd(t *testing.T) {
	etcd := testenv.Etcd(t)
	network := testenv.Proxy(t, etcd.Endpoint())
	tap := testenv.Tap(t, network.Endpoint())
	start := begin(dialEtcd(tap.Endpoint()), dialEtcd(etcd.Endpoint()))
	b := faults(discoverytest.Backend{
		Record:   "testdata/contract-etcd.json",
		TTL:      5 * time.Second, // many promises share the CPUs with the server
		Late:     5 * time.Second,
		Requests: etcd.Requests,
		Begin: func(t testing.TB) discoverytest.Registry {
			registry := start(t)
			registry.Hold = discoverytest.HoldTap(tap)
			return registry
		},
	}, etcd, network)
	b.Compact = func(t testing.TB) { compactEtcd(t, etcd.Endpoint()) }
	discoverytest.Run(t, b)
}

// compactEtcd removes the history of an etcd.
func compactEtcd(t testing.TB, endpoint string) {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	resp, err := client.Get(t.Context(), "revision")
	if err == nil {
		_, err = client.Compact(t.Context(), resp.Header.Revision)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// counter counts the requests that are sent.
type counter struct {
	next http.RoundTripper
	sent *atomic.Int64
}

func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.sent.Add(1)
	return c.next.RoundTrip(r)
}

// dialConsul returns drivers with clients of their own. It counts their requests.
func dialConsul(addr string, sent *atomic.Int64) dial {
	return func(t testing.TB) (kvdriver.Driver, func()) {
		t.Helper()
		transport := &http.Transport{MaxIdleConnsPerHost: 16}
		config := api.DefaultNonPooledConfig()
		config.Address, config.HttpClient = addr, &http.Client{Transport: counter{transport, sent}}
		client, err := api.NewClient(config)
		if err != nil {
			t.Fatal(err)
		}
		return consulkv.New(client, &consulkv.Options{Wait: 2 * time.Second}), transport.CloseIdleConnections
	}
}

// TestContractConsul runs the suite against Consul's key-value store behind a network that can be cut.
func TestContractConsul(t *testing.T) {
	consul := testenv.Consul(t)
	network := testenv.Proxy(t, consul.Addr(0))
	tap := testenv.Tap(t, network.Endpoint())
	var sent atomic.Int64
	start := begin(dialConsul(tap.Endpoint(), &sent), dialConsul(consul.Addr(0), new(atomic.Int64)))
	discoverytest.Run(t, faults(discoverytest.Backend{
		Record:   "testdata/contract-consul.json",
		Late:     20 * time.Second, // a session ends after up to twice its TTL, and five seconds
		Requests: sent.Load,
		Polls:    1, // a watch repeats its request after Options.Wait

		DefaultPolls: 1 / consulkv.DefaultWait.Seconds(),
		Begin: func(t testing.TB) discoverytest.Registry {
			registry := start(t)
			registry.Hold = discoverytest.HoldTap(tap)
			return registry
		},
		Compact: func(testing.TB) {}, // Consul keeps no history to compact
	}, consul, network))
}

const bucket = "services"

// dialNATS returns drivers with connections of their own, on a bucket that exists.
func dialNATS(url string) dial {
	return func(t testing.TB) (kvdriver.Driver, func()) {
		t.Helper()
		conn, err := nats.Connect(url, nats.ReconnectBufSize(-1), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond),
			nats.PingInterval(2*time.Second), nats.MaxPingsOutstanding(2), nats.Timeout(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(conn)
		if err == nil {
			_, err = js.CreateOrUpdateKeyValue(t.Context(), natskv.Config(bucket))
		}
		if err != nil {
			t.Fatal(err)
		}
		return natskv.New(js, bucket, &natskv.Options{Durable: true}), conn.Close
	}
}

// TestContractNATS runs the suite against a JetStream bucket behind a network that can be cut. The engine has no leases.
func TestContractNATS(t *testing.T) {
	server := testenv.NATS(t)
	network := testenv.Proxy(t, server.Addr(0))
	tap := testenv.Tap(t, network.Endpoint())
	start := begin(dialNATS("nats://"+tap.Endpoint()), dialNATS(server.URL()))
	discoverytest.Run(t, faults(discoverytest.Backend{
		Record:   "testdata/contract-nats.json",
		TTL:      5 * time.Second,
		Late:     5 * time.Second,
		Requests: server.Requests,
		Begin: func(t testing.TB) discoverytest.Registry {
			registry := start(t)
			registry.Hold = discoverytest.HoldTap(tap)
			return registry
		},
		Compact: func(t testing.TB) { purgeNATS(t, server.URL()) },
	}, server, network))
}

// purgeNATS removes the markers of removed items from the bucket.
func purgeNATS(t testing.TB, url string) {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	store, err := js.KeyValue(t.Context(), bucket)
	if err == nil {
		err = store.PurgeDeletes(t.Context(), jetstream.DeleteMarkersOlderThan(-1))
	}
	if err != nil {
		t.Fatal(err)
	}
}
