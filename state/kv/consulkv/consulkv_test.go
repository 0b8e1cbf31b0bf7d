package consulkv_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv/consulkv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/kvtest"
)

// owner closes the client's connections with the driver. Each driver has its own client, so that leaked connections are detected.
type owner struct {
	*consulkv.Driver
	client    *api.Client
	transport *http.Transport
}

func (o *owner) Close() error {
	err := o.Driver.Close()
	o.transport.CloseIdleConnections()
	return err
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

func connect(t testing.TB, addr string, sent *atomic.Int64) *owner {
	t.Helper()
	config := api.DefaultNonPooledConfig()
	config.Address = addr
	o := &owner{transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	config.HttpClient = &http.Client{Transport: counter{o.transport, sent}}
	var err error
	if o.client, err = api.NewClient(config); err != nil {
		t.Fatal(err)
	}
	o.Driver = consulkv.New(o.client, &consulkv.Options{Wait: 2 * time.Second})
	return o
}

// backend returns a driver behind a network that can be cut, and one that bypasses it.
func backend(t testing.TB) kvtest.Backend {
	engine := testenv.Consul(t)
	network := testenv.Proxy(t, engine.Addr(0))
	var sent atomic.Int64
	return kvtest.Backend{
		EngineFuncs: testenv.Goroutines(),
		Open: func(t testing.TB) driver.Driver {
			o := connect(t, network.Endpoint(), &sent)
			if _, err := o.client.KV().DeleteTree("", (&api.WriteOptions{}).WithContext(t.Context())); err != nil {
				t.Fatal(err)
			}
			return o
		},
		Restart: func(t testing.TB, old driver.Driver) driver.Driver {
			engine.Kill()
			engine.Restart()
			kvtest.Awake(t, old)
			return old
		},
		Kill:     func(testing.TB) { engine.Kill() },
		Revive:   func(testing.TB) { engine.Restart() },
		Pause:    func(testing.TB) { engine.Pause() },
		Resume:   func(testing.TB) { engine.Resume() },
		Compact:  func(testing.TB, driver.Driver) {}, // Consul keeps no history to compact
		Requests: sent.Load, KeepAlives: 1,           // a watch repeats its request
		Cut:    func(testing.TB) { network.Cut() },
		Drop:   func(testing.TB) { network.Drop() },
		Slow:   func(_ testing.TB, latency, jitter time.Duration) { network.Slow(latency, jitter) },
		Heal:   func(testing.TB) { network.Heal() },
		Beside: func(t testing.TB) driver.Driver { return connect(t, engine.Addr(0), new(atomic.Int64)) },
		Leases: func(t testing.TB) int { return sessions(t, engine.Addr(0)) },
	}
}

// sessions counts the sessions of an agent's datacenter.
func sessions(t testing.TB, addr string) int {
	t.Helper()
	o := connect(t, addr, new(atomic.Int64))
	defer o.Close()
	all, _, err := o.client.Session().List((&api.QueryOptions{RequireConsistent: true}).WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestContract(t *testing.T) {
	b := backend(t)
	b.Record = "testdata/contract.json"
	kvtest.Run(t, b)
}

func FuzzKeys(f *testing.F) { kvtest.Fuzz(f, backend(f)) }

func TestEngineNeverThere(t *testing.T) {
	kvtest.NeverThere(t, connect(t, "127.0.0.1:1", new(atomic.Int64)))
}
