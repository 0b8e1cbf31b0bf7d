package consuldiscovery_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/control/discovery/consuldiscovery"
	"github.com/go-os/go-os/control/discovery/discoverytest"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/tooling/testenv"
)

// owner closes the client's connections with the registry. Each registry has its own client, so that leaked connections are detected.
type owner struct {
	*consuldiscovery.Registry
	transport *http.Transport
}

func (o *owner) Close() error {
	err := o.Registry.Close()
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

// dial returns a client with a transport of its own.
func dial(t testing.TB, addr string, sent *atomic.Int64) (*api.Client, *http.Transport) {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	config := api.DefaultNonPooledConfig()
	config.Address = addr
	config.HttpClient = &http.Client{Transport: counter{transport, sent}}
	client, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return client, transport
}

// hand returns a client of a test.
func hand(t testing.TB, addr string) *api.Client {
	t.Helper()
	client, transport := dial(t, addr, new(atomic.Int64))
	t.Cleanup(transport.CloseIdleConnections)
	return client
}

func connect(t testing.TB, addr string, wait time.Duration, sent *atomic.Int64) *owner {
	t.Helper()
	client, transport := dial(t, addr, sent)
	registry, err := consuldiscovery.New(client, &consuldiscovery.Options{Wait: wait})
	if err != nil {
		t.Fatal(err)
	}
	return &owner{registry, transport}
}

// entries returns Consul's entries of an ID.
func entries(t testing.TB, client *api.Client, service, id string) []*api.ServiceEntry {
	t.Helper()
	all, _, err := client.Health().Service(service, "", false, (&api.QueryOptions{
		RequireConsistent: true, Filter: fmt.Sprintf("Service.Meta.goos_id == %q", id),
	}).WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// hands returns the hooks that write to the agent as other programs do.
func hands(client *api.Client) discoverytest.Registry {
	remove := func(t testing.TB, service, id string) {
		t.Helper()
		for _, e := range entries(t, client, service, id) {
			if err := client.Agent().ServiceDeregister(e.Service.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	put := func(t testing.TB, s *api.AgentServiceRegistration) {
		t.Helper()
		s.Check = &api.AgentServiceCheck{CheckID: s.ID + "~lease", TTL: "1h", Status: api.HealthPassing}
		if err := client.Agent().ServiceRegister(s); err != nil {
			t.Fatal(err)
		}
	}
	return discoverytest.Registry{
		Write: func(t testing.TB, r driver.Record) {
			t.Helper()
			remove(t, r.Service, r.ID)
			put(t, byHand(t, r))
		},
		Remove: remove,
		Spoil: func(t testing.TB, service, id string) string {
			t.Helper()
			remove(t, service, id)
			put(t, &api.AgentServiceRegistration{
				ID: service + "~" + id + "~spoilt", Name: service, Port: 1, Meta: map[string]string{"goos_id": id, "goos_epoch": "many"},
			})
			return id
		},
	}
}

// byHand returns the registration of the only address of a record.
func byHand(t testing.TB, r driver.Record) *api.AgentServiceRegistration {
	t.Helper()
	for protocol, address := range r.Addresses {
		body, err := json.Marshal(map[string]any{
			"version": r.Version, "zone": r.Zone, "weight": r.Weight, "addresses": r.Addresses, "labels": r.Labels,
		})
		if err != nil {
			t.Fatal(err)
		}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		number, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		return &api.AgentServiceRegistration{
			ID: r.Service + "~" + r.ID + "~" + protocol + "~" + r.Incarnation, Name: r.Service, Tags: []string{protocol}, Address: host, Port: number,
			Meta: map[string]string{
				"goos_id": r.ID, "goos_incarnation": r.Incarnation, "goos_epoch": fmt.Sprint(r.Epoch), "goos_state": r.State.String(),
				"goos_revision": fmt.Sprint(time.Now().UnixMilli()), "goos_record_00": string(body),
			},
		}
	}
	t.Fatal("the record has no address")
	return nil
}

func TestContract(t *testing.T) {
	const wait = 2 * time.Second // a watch notices a silent network after it, and ten seconds
	engine := testenv.Consul(t)
	network := testenv.Proxy(t, engine.Addr(0))
	tap := testenv.Tap(t, network.Endpoint())
	var sent atomic.Int64
	discoverytest.Run(t, discoverytest.Backend{
		Begin: func(t testing.TB) discoverytest.Registry {
			client, transport := dial(t, engine.Addr(0), new(atomic.Int64))
			registry := hands(client)
			registry.Registrar = func(t testing.TB) driver.Registrar { return connect(t, tap.Endpoint(), wait, &sent) }
			registry.Reader = func(t testing.TB) driver.Reader { return connect(t, tap.Endpoint(), wait, &sent) }
			registry.Hold = discoverytest.HoldTap(tap)
			registry.End = func(testing.TB) { transport.CloseIdleConnections() }
			return registry
		},
		Record:      "testdata/contract.json",
		TTL:         5 * time.Second, // many promises share the CPUs with the server
		Late:        5 * time.Second,
		Kill:        func(testing.TB) { engine.Kill() },
		Revive:      func(testing.TB) { engine.Restart() },
		Pause:       func(testing.TB) { engine.Pause() },
		Resume:      func(testing.TB) { engine.Resume() },
		Cut:         func(testing.TB) { network.Cut() },
		Drop:        func(testing.TB) { network.Drop() },
		Heal:        func(testing.TB) { network.Heal() },
		Compact:     func(testing.TB) {}, // Consul keeps no history
		Requests:    sent.Load,
		Polls:       float64(time.Second) / float64(wait),
		EngineFuncs: testenv.Goroutines(),
	})
}
