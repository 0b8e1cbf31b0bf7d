package consuldiscovery_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/consuldiscovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/telemetry"
)

func registry(t testing.TB, client *api.Client, opts *consuldiscovery.Options) *consuldiscovery.Registry {
	t.Helper()
	r, err := consuldiscovery.New(client, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// registrar is a process that registers. It is closed with the test.
func registrar(t testing.TB, d driver.Registrar, ttl time.Duration) *discovery.Registrar {
	t.Helper()
	r, err := discovery.NewRegistrar(d, &discovery.RegistrarOptions{TTL: ttl, Goodbye: time.Minute, Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// register registers an instance of orders with two protocols, and waits until the registry has it.
func register(t testing.TB, r *discovery.Registrar, id string) *discovery.Registration {
	t.Helper()
	g, err := r.Register(t.Context(), discovery.Instance{
		Service: "orders", ID: id, Weight: 7, Addresses: map[string]string{"grpc": "127.0.0.2:9001", "http": "127.0.0.2:8080"},
	})
	if err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 20*time.Second, "it is registered", func() error { return g.Check(t.Context()) })
	return g
}

// shown is a reader's view of a service.
type shown struct {
	mu      sync.Mutex
	records map[string]driver.Record
	invalid map[string]error
	deletes int
	resyncs int
	lost    int
}

// follow follows a service until the test ends.
func follow(t testing.TB, r driver.Reader, service string) *shown {
	t.Helper()
	s := &shown{records: map[string]driver.Record{}, invalid: map[string]error{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Watch(ctx, service, s.apply) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	return s
}

func (s *shown) apply(e driver.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Kind {
	case driver.EventResync:
		s.resyncs++
		clear(s.records)
		clear(s.invalid)
	case driver.EventPut:
		delete(s.invalid, e.Record.ID)
		s.records[e.Record.ID] = e.Record
	case driver.EventDelete:
		s.deletes++
		delete(s.invalid, e.Record.ID)
		delete(s.records, e.Record.ID)
	case driver.EventInvalid:
		s.invalid[e.Record.ID] = e.Err
	case driver.EventLost:
		s.lost++
	}
	return nil
}

// has returns nil if the reader has these IDs and no other.
func (s *shown) has(want ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var got []string
	for id := range s.records {
		got = append(got, id)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		return fmt.Errorf("it has %q, want %q", got, want)
	}
	return nil
}

func (s *shown) record(id string) driver.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records[id]
}

// dns queries Consul's DNS for the ports of a service.
func dns(t testing.TB, engine *testenv.ConsulHandle, name string) ([]*net.SRV, error) {
	t.Helper()
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, engine.DNS())
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, all, err := resolver.LookupSRV(ctx, "", "", name)
	return all, err
}

// TestDNS queries Consul's own DNS: it returns our instances, except draining, unhealthy and deregistered ones.
func TestDNS(t *testing.T) {
	t.Parallel()
	engine := testenv.Consul(t)
	client := hand(t, engine.Addr(0))
	lease, err := registry(t, client, nil).Grant(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	put := func(id, port string, state driver.State) driver.Record {
		record := driver.Record{Incarnation: id + "INC", Epoch: 1, Instance: driver.Instance{
			Service: "orders", ID: id, Weight: 7, State: state, Addresses: map[string]string{"grpc": "127.0.0.2:" + port, "http": "127.0.0.2:8080"},
		}}
		if err := lease.Register(t.Context(), record); err != nil {
			t.Fatal(err)
		}
		return record
	}
	answers := func(what string, want ...string) {
		t.Helper()
		testenv.Eventually(t, 10*time.Second, what, func() error {
			var got []string
			found, err := dns(t, engine, "_orders._grpc.service.consul.")
			var missing *net.DNSError
			if err != nil && !(errors.As(err, &missing) && missing.IsNotFound) {
				return err
			}
			for _, a := range found {
				got = append(got, fmt.Sprint(a.Port))
				if a.Weight != 7 {
					return fmt.Errorf("weight %d, want 7", a.Weight)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				return fmt.Errorf("DNS answers with %q, want %q", got, want)
			}
			return nil
		})
		passing, _, err := client.Health().Service("orders", "grpc", true, (&api.QueryOptions{RequireConsistent: true}).WithContext(t.Context()))
		if err != nil || len(passing) != len(want) {
			t.Errorf("%s: Consul has %d passing services (%v), want %d", what, len(passing), err, len(want))
		}
	}
	put("a", "9001", driver.Up)
	put("b", "9002", driver.Up)
	answers("both are up", "9001", "9002")
	put("b", "9002", driver.Draining)
	answers("b drains", "9001")
	put("b", "9002", driver.Up)
	answers("b is up again", "9001", "9002")
	put("b", "9002", driver.Unhealthy)
	answers("b is unhealthy", "9001")
	gone := put("a", "9001", driver.Up)
	gone.State = driver.Gone
	if err := lease.Deregister(t.Context(), gone, time.Minute); err != nil {
		t.Fatal(err)
	}
	answers("a has said goodbye")
	put("c", "9003", driver.Draining) // it never was passing
	answers("c begins to drain")
}

// TestForeign reads services that something else has registered.
func TestForeign(t *testing.T) {
	t.Parallel()
	engine := testenv.Consul(t)
	client := hand(t, engine.Addr(0))
	s := follow(t, registry(t, client, &consuldiscovery.Options{Protocol: "redis"}), "cache")
	add := func(r *api.AgentServiceRegistration) {
		t.Helper()
		r.Name = "cache"
		if err := client.Agent().ServiceRegister(r); err != nil {
			t.Fatal(err)
		}
	}
	add(&api.AgentServiceRegistration{
		ID: "c1", Port: 6379, Address: "10.0.0.9", Tags: []string{"primary"}, Meta: map[string]string{"version": "7", "zone": "eu", "team": "x"},
		Weights: &api.AgentWeights{Passing: 10, Warning: 3}, Check: &api.AgentServiceCheck{CheckID: "c1", TTL: "1h", Status: api.HealthPassing},
	})
	add(&api.AgentServiceRegistration{ID: "c2", Port: 6380})
	add(&api.AgentServiceRegistration{ID: "c3"})
	testenv.Eventually(t, 10*time.Second, "two are found", func() error { return s.has("n0/c1", "n0/c2") })
	got := s.record("n0/c1")
	want := driver.Instance{
		Service: "cache", ID: "n0/c1", Version: "7", Zone: "eu", Weight: 10, Addresses: map[string]string{"redis": "10.0.0.9:6379"},
		Labels: map[string]string{"primary": "", "version": "7", "zone": "eu", "team": "x"},
	}
	if fmt.Sprint(got.Instance) != fmt.Sprint(want) {
		t.Errorf("the instance is %v, want %v", got.Instance, want)
	}
	if got := s.record("n0/c2").Addresses["redis"]; got != "127.0.0.1:6380" {
		t.Errorf("a service without an address has %q, want that of its node", got)
	}
	testenv.Eventually(t, 10*time.Second, "the one without a port is refused alone", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.invalid["n0/c3"]; !errors.Is(err, driver.ErrInvalid) {
			return fmt.Errorf("the error is %w", err)
		}
		return nil
	})
	becomes := func(what string, state driver.State, weight int) {
		t.Helper()
		testenv.Eventually(t, 10*time.Second, what, func() error {
			if r := s.record("n0/c1"); r.State != state || r.Weight != weight {
				return fmt.Errorf("it is %s with weight %d, want %s with %d", r.State, r.Weight, state, weight)
			}
			return nil
		})
	}
	for _, step := range []struct {
		what   string
		do     func() error
		state  driver.State
		weight int
	}{
		{"warning", func() error { return client.Agent().UpdateTTL("c1", "", api.HealthWarning) }, driver.Up, 3},
		{"critical", func() error { return client.Agent().UpdateTTL("c1", "", api.HealthCritical) }, driver.Unhealthy, 10},
		{"maintenance", func() error { return client.Agent().EnableServiceMaintenance("c1", "by hand") }, driver.Draining, 10},
		{"no maintenance", func() error { return client.Agent().DisableServiceMaintenance("c1") }, driver.Unhealthy, 10},
		{"passing", func() error { return client.Agent().UpdateTTL("c1", "", api.HealthPassing) }, driver.Up, 10},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		becomes(step.what, step.state, step.weight)
	}
}

// TestMaintenance drains an instance by hand. Its process does not undo that.
func TestMaintenance(t *testing.T) {
	t.Parallel()
	engine := testenv.Consul(t)
	client := hand(t, engine.Addr(0))
	g := register(t, registrar(t, registry(t, client, nil), 3*time.Second), "i")
	s := follow(t, registry(t, client, nil), "orders")
	state := func(want driver.State) func() error {
		return func() error {
			if got := s.record("i").State; s.has("i") != nil || got != want {
				return fmt.Errorf("the state is %s, want %s", got, want)
			}
			return nil
		}
	}
	testenv.Eventually(t, 10*time.Second, "it is up", state(driver.Up))
	for _, e := range entries(t, client, "orders", "i") {
		if err := client.Agent().EnableServiceMaintenance(e.Service.ID, "by hand"); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, 10*time.Second, "it drains", state(driver.Draining))
	if err := g.Update(t.Context(), func(i *discovery.Instance) { i.Weight = 8 }); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 10*time.Second, "the update", func() error {
		if got := s.record("i").Weight; got != 8 {
			return fmt.Errorf("weight %d, want 8", got)
		}
		return nil
	})
	if err := state(driver.Draining)(); err != nil {
		t.Errorf("after an update: %v", err)
	}
}

// TestRemovedByHand removes an instance as people do, with the agent's API and with the catalog's.
func TestRemovedByHand(t *testing.T) {
	t.Parallel()
	const ttl = 9 * time.Second
	engine := testenv.Consul(t)
	client := hand(t, engine.Addr(0))
	g := register(t, registrar(t, registry(t, client, nil), ttl), "i")
	if err := g.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for what, remove := range map[string]func(e *api.ServiceEntry) error{
		"agent": func(e *api.ServiceEntry) error { return client.Agent().ServiceDeregister(e.Service.ID) },
		"catalog": func(e *api.ServiceEntry) error {
			_, err := client.Catalog().Deregister(&api.CatalogDeregistration{Node: e.Node.Node, ServiceID: e.Service.ID}, nil)
			return err
		},
		"check": func(e *api.ServiceEntry) error {
			_, err := client.Catalog().Deregister(&api.CatalogDeregistration{Node: e.Node.Node, CheckID: e.Service.ID + "~draining"}, nil)
			return err
		},
	} {
		for _, e := range entries(t, client, "orders", "i") {
			if err := remove(e); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		testenv.Eventually(t, ttl/3, what+": it is registered again", func() error {
			all := entries(t, client, "orders", "i")
			checks := 0
			for _, e := range all {
				checks += len(e.Checks) // of the node, of the lease, of the state
			}
			if len(all) != 2 || checks != 6 {
				return fmt.Errorf("%d services with %d checks, want 2 with 6", len(all), checks)
			}
			return nil
		})
		t.Logf("removed with the API of the %s: registered again after %s", what, time.Since(began).Round(time.Millisecond))
	}
}

// TestTwoAgents has two processes with one ID register at two agents. The later one stays, and the earlier one notices.
func TestTwoAgents(t *testing.T) {
	t.Parallel()
	server := testenv.Consul(t)
	agent := testenv.ConsulAgent(t, server)
	earlier := register(t, registrar(t, registry(t, hand(t, agent.Addr(0)), nil), 3*time.Second), "i")
	later := register(t, registrar(t, registry(t, hand(t, server.Addr(0)), nil), 3*time.Second), "i")
	testenv.Eventually(t, 10*time.Second, "the earlier one stops", func() error {
		if err := earlier.Check(t.Context()); !errors.Is(err, discovery.ErrConflict) {
			return fmt.Errorf("its Check returns %w, want ErrConflict", err)
		}
		return nil
	})
	testenv.Eventually(t, 10*time.Second, "the later one is alone", func() error {
		for _, e := range entries(t, hand(t, server.Addr(0)), "orders", "i") {
			if e.Node.Node != "n0" {
				return fmt.Errorf("%s is at %s", e.Service.ID, e.Node.Node)
			}
		}
		return later.Check(t.Context())
	})
}

// TestAgentRestarts kills the agent of a process and restarts it.
func TestAgentRestarts(t *testing.T) {
	t.Parallel()
	const ttl = 3 * time.Second
	server := testenv.Consul(t)
	agent := testenv.ConsulAgent(t, server)
	g := register(t, registrar(t, registry(t, hand(t, agent.Addr(0)), nil), ttl), "i")
	s := follow(t, registry(t, hand(t, server.Addr(0)), nil), "orders")
	testenv.Eventually(t, 10*time.Second, "it is found", func() error { return s.has("i") })
	agent.Kill()
	testenv.Eventually(t, 2*ttl, "the process notices", func() error {
		if err := g.Check(t.Context()); !errors.Is(err, discovery.ErrUnavailable) {
			return fmt.Errorf("Check returns %w, want ErrUnavailable", err)
		}
		return nil
	})
	agent.Restart()
	testenv.Eventually(t, ttl, "it is registered again", func() error { return g.Check(t.Context()) })
	testenv.Eventually(t, 10*time.Second, "it is found again", func() error { return s.has("i") })
}

// TestAgentLeaves removes the agent of a process from the cluster. It takes the services with it. The process moves to another agent, and
// stays there when its own is back.
func TestAgentLeaves(t *testing.T) {
	suite.Short(t) // waits for several TTLs
	t.Parallel()
	const ttl = 3 * time.Second
	server := testenv.Consul(t)
	agent := testenv.ConsulAgent(t, server)
	other := hand(t, server.Addr(0))
	moving := register(t, registrar(t, registry(t, hand(t, agent.Addr(0)), &consuldiscovery.Options{Others: []*api.Client{other}}), ttl), "moving")
	staying := register(t, registrar(t, registry(t, hand(t, agent.Addr(0)), nil), ttl), "staying")
	s := follow(t, registry(t, hand(t, agent.Addr(0)), &consuldiscovery.Options{Others: []*api.Client{other}}), "orders")
	testenv.Eventually(t, 10*time.Second, "both are found", func() error { return s.has("moving", "staying") })
	leaving := time.Now()
	agent.Stop()
	t.Logf("the agent has left after %s; the moving instance: %v", time.Since(leaving).Round(time.Millisecond), s.has("moving"))
	began := time.Now()
	testenv.Eventually(t, 10*time.Second, "one has moved, the other has left", func() error {
		return errors.Join(s.has("moving"), moving.Check(t.Context()))
	})
	t.Logf("moved to another agent after %s", time.Since(began).Round(time.Millisecond))
	// The process of the leaving agent has noticed that its services are gone, and has not restored them: they would pass for ever.
	if all := entries(t, other, "orders", "staying"); len(all) > 0 {
		t.Errorf("Consul has %d services of an agent that has left", len(all))
	}
	agent.Restart()
	testenv.Eventually(t, ttl+ttl/3, "the other is registered again", func() error { return staying.Check(t.Context()) })
	testenv.Eventually(t, 10*time.Second, "both are found again", func() error {
		return errors.Join(s.has("moving", "staying"), moving.Check(t.Context()))
	})
}

// TestLostAgent reads an instance on a node without an agent, where its TTL never expires.
func TestLostAgent(t *testing.T) {
	t.Parallel()
	engine := testenv.Consul(t)
	client := hand(t, engine.Addr(0))
	record := driver.Record{Incarnation: "x", Epoch: 1, Instance: driver.Instance{Service: "orders", ID: "i", Addresses: map[string]string{"grpc": "h:1"}}}
	byHand := byHand(t, record)
	check := func(node, id, service, status string) {
		t.Helper()
		_, err := client.Catalog().Register(&api.CatalogRegistration{
			Node: node, Address: "10.0.0.9", Service: &api.AgentService{
				ID: byHand.ID, Service: "orders", Meta: byHand.Meta, Tags: byHand.Tags, Address: byHand.Address, Port: byHand.Port,
			},
			Check: &api.AgentCheck{Node: node, CheckID: id, Name: id, ServiceID: service, Status: status},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	s := follow(t, registry(t, client, nil), "orders")
	check("ghost", byHand.ID+"~lease", byHand.ID, api.HealthPassing)
	register(t, registrar(t, registry(t, client, nil), 30*time.Second), "other")
	testenv.Eventually(t, 10*time.Second, "the other instance is found alone", func() error { return s.has("other") })
	for _, step := range []struct {
		status string
		want   []string
	}{{api.HealthPassing, []string{"i", "other"}}, {api.HealthCritical, []string{"other"}}} {
		check("ghost", "serfHealth", "", step.status)
		testenv.Eventually(t, 10*time.Second, "an agent that is "+step.status, func() error { return s.has(step.want...) })
	}
}

// TestServerAway kills and stops Consul for longer than every lease. A stopped agent ends all TTLs at once when it continues.
func TestServerAway(t *testing.T) {
	suite.Short(t) // waits for several TTLs
	t.Parallel()
	const ttl = 3 * time.Second
	engine := testenv.Consul(t)
	var all []*discovery.Registration
	for n := range 3 {
		all = append(all, register(t, registrar(t, registry(t, hand(t, engine.Addr(0)), nil), ttl), fmt.Sprint("i", n)))
	}
	s := follow(t, registry(t, hand(t, engine.Addr(0)), nil), "orders")
	found := func() error { return s.has("i0", "i1", "i2") }
	testenv.Eventually(t, 10*time.Second, "all are found", found)
	registered := func() (err error) {
		for _, g := range all {
			err = errors.Join(err, g.Check(t.Context()))
		}
		return err
	}
	for _, fault := range []struct {
		name       string
		begin, end func()
	}{{"killed", engine.Kill, engine.Restart}, {"stopped", engine.Pause, engine.Resume}} {
		fault.begin()
		time.Sleep(2 * ttl)
		if err := registered(); !errors.Is(err, discovery.ErrUnavailable) {
			t.Errorf("%s: Check returns %v, want ErrUnavailable", fault.name, err)
		}
		fault.end()
		testenv.Eventually(t, 20*time.Second, "Consul answers", func() error {
			_, err := hand(t, engine.Addr(0)).Status().Leader()
			return err
		})
		began := time.Now()
		testenv.Eventually(t, ttl, fault.name+": all are registered again", registered)
		t.Logf("%s: registered again after %s", fault.name, time.Since(began).Round(time.Millisecond))
		testenv.Eventually(t, 10*time.Second, fault.name+": all are found again", found)
	}
	if s.lost == 0 {
		t.Error("the reader did not report a loss")
	}
}

// TestIdle counts the cost of an idle instance and its reader.
func TestIdle(t *testing.T) {
	suite.Short(t) // waits for several TTLs
	t.Parallel()
	const ttl = 3 * time.Second
	server := testenv.Consul(t)
	agent := testenv.ConsulAgent(t, server)
	var written, read atomic.Int64
	writer, writing := dial(t, agent.Addr(0), &written)
	reader, reading := dial(t, agent.Addr(0), &read)
	t.Cleanup(func() { writing.CloseIdleConnections(); reading.CloseIdleConnections() })
	r := registrar(t, registry(t, writer, nil), ttl)
	g := register(t, r, "i")
	s := follow(t, registry(t, reader, nil), "orders")
	testenv.Eventually(t, 10*time.Second, "it is found", func() error { return s.has("i") })
	client := hand(t, server.Addr(0))
	settled := versions(t, client)
	testenv.Eventually(t, 10*time.Second, "nothing changes any more", func() error {
		before := settled
		if settled = versions(t, client); before != settled {
			return fmt.Errorf("the checks were %s and are %s", before, settled)
		}
		return nil
	})
	testenv.Eventually(t, 10*time.Second, "the reader is idle", func() error {
		before := read.Load()
		time.Sleep(time.Second)
		if now := read.Load(); now != before {
			return fmt.Errorf("it has sent %d requests and now %d", before, now)
		}
		return nil
	})
	writes, reads, raft := written.Load(), read.Load(), index(t, client)
	const ttls = 3
	time.Sleep(ttls * ttl)
	writes, reads = written.Load()-writes, read.Load()-reads
	grown := index(t, client) - raft
	t.Logf("within %d TTLs: %d requests by the registrar of 2 services, %d by the reader, and %d entries in the log of raft", ttls, writes, reads, grown)
	if now := versions(t, client); now != settled {
		t.Errorf("the checks were %s and are %s: a renewal has written to the servers", settled, now)
	}
	if limit := int64(2 * (3*ttls*10/9 + 2)); writes < 3*ttls || writes > limit {
		t.Errorf("%d requests by the registrar, want %d to %d", writes, 3*ttls, limit)
	}
	if reads > 0 {
		t.Errorf("%d requests by the reader, want none within its wait", reads)
	}
	if grown > 3 { // Consul has its own entries, such as the nodes' coordinates
		t.Errorf("the log of raft has grown by %d entries, with %d renewals", grown, writes)
	}
	seen(t, g, s)
}

// seen measures how long changes take from Update to a reader of another process, half a second apart.
func seen(t testing.TB, g *discovery.Registration, s *shown) {
	t.Helper()
	var all []time.Duration
	for n := range 10 {
		time.Sleep(500 * time.Millisecond)
		began := time.Now()
		if err := g.Update(t.Context(), func(i *discovery.Instance) { i.Weight = 100 + n }); err != nil {
			t.Fatal(err)
		}
		for s.record("i").Weight != 100+n {
			if time.Since(began) > 10*time.Second {
				t.Fatal("a change was not seen within 10 s")
			}
			time.Sleep(time.Millisecond)
		}
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	t.Logf("a change is seen after %s in the median, %s at most", all[len(all)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond))
}

// versions returns the indexes of Consul's entries of orders.
func versions(t testing.TB, client *api.Client) string {
	t.Helper()
	var out strings.Builder
	for _, e := range entries(t, client, "orders", "i") {
		fmt.Fprint(&out, e.Service.ModifyIndex, " ")
		for _, c := range e.Checks {
			fmt.Fprint(&out, c.ModifyIndex, " ")
		}
	}
	return out.String()
}

// index returns the last index of the log of raft.
func index(t testing.TB, client *api.Client) int64 {
	t.Helper()
	self, err := client.Agent().Self()
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(fmt.Sprint(self["Stats"]["raft"].(map[string]any)["last_log_index"]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestIndexGoesBackwards puts a proxy in front of Consul. Its index is ahead at first, like the index of a server before a restore
// (hashicorp/consul#7939).
func TestIndexGoesBackwards(t *testing.T) {
	t.Parallel()
	const ahead = 1_000_000
	engine := testenv.Consul(t)
	var offset atomic.Int64
	offset.Store(ahead)
	var queries atomic.Int64
	target, err := url.Parse(engine.URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			queries.Add(1)
			q := r.Out.URL.Query()
			if n, err := strconv.ParseInt(q.Get("index"), 10, 64); err == nil {
				q.Set("index", fmt.Sprint(max(n-offset.Load(), 1)))
				r.Out.URL.RawQuery = q.Encode()
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if n, err := strconv.ParseInt(r.Header.Get("X-Consul-Index"), 10, 64); err == nil {
				r.Header.Set("X-Consul-Index", fmt.Sprint(n+offset.Load()))
			}
			return nil
		},
	}
	front := httptest.NewServer(proxy)
	t.Cleanup(front.Close)
	client, transport := dial(t, strings.TrimPrefix(front.URL, "http://"), new(atomic.Int64))
	t.Cleanup(transport.CloseIdleConnections)
	s := follow(t, registry(t, client, &consuldiscovery.Options{Wait: time.Second}), "orders")
	r := registrar(t, registry(t, hand(t, engine.Addr(0)), nil), 30*time.Second)
	register(t, r, "a")
	testenv.Eventually(t, 10*time.Second, "the first is found", func() error { return s.has("a") })
	before := s.resyncs
	offset.Store(0)
	register(t, r, "b")
	testenv.Eventually(t, 10*time.Second, "the second is found", func() error { return s.has("a", "b") })
	s.mu.Lock()
	resyncs := s.resyncs
	s.mu.Unlock()
	if resyncs != before+1 {
		t.Errorf("%d resyncs after the index went back, want 1", resyncs-before)
	}
	sent := queries.Load()
	register(t, r, "c")
	testenv.Eventually(t, 10*time.Second, "the third is found", func() error { return s.has("a", "b", "c") })
	if n := queries.Load() - sent; n > 20 {
		t.Errorf("%d queries for one change", n)
	}
}

// TestLaggingServer puts a proxy in front of Consul that answers stale queries with an old answer, as a server does that is behind.
func TestLaggingServer(t *testing.T) {
	t.Parallel()
	engine := testenv.Consul(t)
	target, err := url.Parse(engine.URL())
	if err != nil {
		t.Fatal(err)
	}
	direct := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	var behind atomic.Bool
	var old atomic.Pointer[httptest.ResponseRecorder]
	var queries atomic.Int64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		queries.Add(1)
		answer := old.Load()
		if !behind.Load() || !r.URL.Query().Has("stale") {
			direct.ServeHTTP(w, r)
			return
		}
		maps.Copy(w.Header(), answer.Header())
		_, _ = w.Write(answer.Body.Bytes())
	}))
	t.Cleanup(front.Close)
	r := registrar(t, registry(t, hand(t, engine.Addr(0)), nil), 30*time.Second)
	a := register(t, r, "a")
	recorded := httptest.NewRecorder()
	direct.ServeHTTP(recorded, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/health/service/orders?stale", nil))
	old.Store(recorded)
	register(t, r, "b")

	client, transport := dial(t, strings.TrimPrefix(front.URL, "http://"), new(atomic.Int64))
	t.Cleanup(transport.CloseIdleConnections)
	s := follow(t, registry(t, client, &consuldiscovery.Options{Wait: 500 * time.Millisecond}), "orders")
	testenv.Eventually(t, 10*time.Second, "both are found", func() error { return s.has("a", "b") })
	behind.Store(true)
	if err := a.Update(t.Context(), func(i *discovery.Instance) { i.Weight = 9 }); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 10*time.Second, "the change is found, and b is not forgotten", func() error {
		if w := s.record("a").Weight; w != 9 {
			return fmt.Errorf("weight %d, want 9", w)
		}
		return s.has("a", "b")
	})
	sent := queries.Load()
	time.Sleep(2 * time.Second)
	if n := queries.Load() - sent; n > 2*2*3+3 {
		t.Errorf("%d queries within 2 s of a server that is behind", n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deletes > 0 || s.resyncs != 1 {
		t.Errorf("%d removals and %d resyncs, want none and 1", s.deletes, s.resyncs)
	}
}

// TestDenied uses a token without rights.
func TestDenied(t *testing.T) {
	t.Parallel()
	engine := testenv.ConsulWith(t, `-hcl=acl { enabled = true, default_policy = "allow", tokens { initial_management = "00000000-0000-0000-0000-000000000001" } }`)
	admin := hand(t, engine.Addr(0))
	register(t, registrar(t, registry(t, admin, nil), 10*time.Second), "i")
	write := (&api.WriteOptions{Token: "00000000-0000-0000-0000-000000000001"}).WithContext(t.Context())
	policy, _, err := admin.ACL().PolicyCreate(&api.ACLPolicy{Name: "none", Rules: `service_prefix "" { policy = "deny" }`}, write)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := admin.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLTokenPolicyLink{{ID: policy.ID}}}, write)
	if err != nil {
		t.Fatal(err)
	}
	config := api.DefaultConfig()
	config.Address, config.Token = engine.Addr(0), token.SecretID
	client, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(config.Transport.CloseIdleConnections)
	d := registry(t, client, nil)
	lease, err := d.Grant(t.Context(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	record := driver.Record{Incarnation: "x", Epoch: 1, Instance: driver.Instance{Service: "orders", ID: "j", Addresses: map[string]string{"grpc": "h:1"}}}
	if err := lease.Register(t.Context(), record); !errors.Is(err, driver.ErrDenied) {
		t.Errorf("Register returns %v, want ErrDenied", err)
	}
	if _, err := d.Services(t.Context()); !errors.Is(err, driver.ErrDenied) {
		t.Errorf("Services returns %v, want ErrDenied", err)
	}
	var lost error
	stop := errors.New("stop")
	if err := d.Watch(t.Context(), "orders", func(e driver.Event) error { lost = e.Err; return stop }); !errors.Is(err, stop) {
		t.Errorf("Watch returns %v", err)
	}
	if !errors.Is(lost, driver.ErrDenied) {
		t.Errorf("the watch reports %v, want ErrDenied", lost)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for want, opts := range map[string]*consuldiscovery.Options{
		"consuldiscovery.Options.Reap is -1ns":                           {Reap: -1},
		"consuldiscovery.Options.Reap is 1s: Consul takes 1m0s at least": {Reap: time.Second},
		"consuldiscovery.Options.Wait is -1ns":                           {Wait: -1},
		"consuldiscovery: New: the client Others[0] is nil":              {Others: []*api.Client{nil}},
	} {
		if _, err := consuldiscovery.New(&api.Client{}, opts); !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%+v) returns %v, want %q", opts, err, want)
		}
	}
	if _, err := consuldiscovery.New(nil, nil); !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), "consuldiscovery: New: the client is nil") {
		t.Errorf("New without a client returns %v", err)
	}
}

// TestTooLarge registers the longest record, in characters of several bytes, and a longer one.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	engine := testenv.Consul(t)
	client := hand(t, engine.Addr(0))
	lease, err := registry(t, client, nil).Grant(t.Context(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	record := driver.Record{Incarnation: "x", Epoch: 1, Instance: driver.Instance{
		Service: "orders", ID: "i", Addresses: map[string]string{"grpc": "h:1"}, Labels: map[string]string{"l": ""},
	}}
	const envelope = len(`{"weight":0,"addresses":{"grpc":"h:1"},"labels":{"l":""}}`)
	record.Labels["l"] = strings.Repeat("世", (consuldiscovery.MaxRecord-envelope)/len("世"))
	if err := lease.Register(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	s := follow(t, registry(t, client, nil), "orders")
	testenv.Eventually(t, 10*time.Second, "it is read as written", func() error {
		if got := s.record("i").Labels["l"]; got != record.Labels["l"] {
			return fmt.Errorf("the label has %d bytes, want %d", len(got), len(record.Labels["l"]))
		}
		return nil
	})
	record.Labels["l"] += "世"
	if err := lease.Register(t.Context(), record); !errors.Is(err, driver.ErrTooLarge) {
		t.Errorf("Register of a longer record returns %v, want ErrTooLarge", err)
	}
}

func TestEngineNeverThere(t *testing.T) {
	t.Parallel()
	d := registry(t, hand(t, "127.0.0.1:1"), nil)
	if _, err := d.Grant(t.Context(), 10*time.Second); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("Grant returns %v, want ErrUnavailable", err)
	}
	s := follow(t, d, "orders")
	testenv.Eventually(t, 10*time.Second, "the loss is reported", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lost != 1 {
			return fmt.Errorf("%d losses, want 1", s.lost)
		}
		return nil
	})
}
