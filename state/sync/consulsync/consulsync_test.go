package consulsync_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/sync/consulsync"
	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/synctest"
)

// owner ends the client's connections with the driver. Each driver has its own client, so that leaked connections are detected.
type owner struct {
	*consulsync.Driver
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

// wait is long, so that repeated blocking queries do not hide the requests that have a cause.
const wait = 10 * time.Second

func opens(addr string, sent *atomic.Int64) synctest.Open {
	return func(t testing.TB) driver.Driver {
		config := api.DefaultNonPooledConfig()
		config.Address = addr
		o := &owner{transport: &http.Transport{MaxIdleConnsPerHost: 16}}
		config.HttpClient = &http.Client{Transport: counter{o.transport, sent}}
		client, err := api.NewClient(config)
		if err != nil {
			t.Fatal(err)
		}
		o.Driver = consulsync.New(client, &consulsync.Options{Wait: wait})
		return o
	}
}

// byDefault returns a driver with default options, on a client with default options.
func byDefault(t testing.TB, addr string) (driver.Driver, func()) {
	t.Helper()
	config := api.DefaultConfig()
	config.Address = addr
	client, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return consulsync.New(client, nil), config.Transport.CloseIdleConnections
}

func TestContract(t *testing.T) {
	engine := testenv.Consul(t)
	network := testenv.Proxy(t, engine.Addr(0))
	tap := testenv.Tap(t, network.Endpoint())
	var sent atomic.Int64
	synctest.Run(t, synctest.Backend{
		Begin:  func(testing.TB) synctest.Open { return opens(tap.Endpoint(), &sent) },
		Beside: opens(engine.Addr(0), &sent),
		Kill:   func(testing.TB) { engine.Kill() }, Revive: func(testing.TB) { engine.Restart() },
		Pause: func(testing.TB) { engine.Pause() }, Resume: func(testing.TB) { engine.Resume() },
		Cut: func(testing.TB) { network.Cut() }, Drop: func(testing.TB) { network.Drop() }, Heal: func(testing.TB) { network.Heal() },
		Slow:     func(_ testing.TB, latency, jitter time.Duration) { network.Slow(latency, jitter) },
		Tap:      tap,
		Default:  func(t testing.TB) (driver.Driver, func()) { return byDefault(t, engine.Addr(0)) },
		Requests: sent.Load, Polls: 1 / wait.Seconds(),
		Record:      "testdata/contract.json",
		EngineFuncs: testenv.Goroutines(),
	})
}
