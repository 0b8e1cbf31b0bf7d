package oshttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// fleet is a registry, and servers that register there.
type fleet struct {
	*testing.T
	registry  *kvdiscovery.Registry
	registrar *discovery.Registrar
	resolver  *discovery.Resolver
	router    *router.Router // of its clients, nil if they have none
}

// newFleet returns a fleet with a registry in memory.
func newFleet(t *testing.T) *fleet {
	store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	t.Cleanup(func() { _ = store.Close() })
	return newFleetIn(t, store)
}

func newFleetIn(t *testing.T, store *kv.Store) *fleet {
	t.Helper()
	f := &fleet{T: t}
	var err error
	if f.registry, err = kvdiscovery.New(store, nil); err != nil {
		t.Fatal(err)
	}
	if f.registrar, err = discovery.NewRegistrar(f.registry, &discovery.RegistrarOptions{Telemetry: telemetry.Off()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.registrar.Close() })
	if f.resolver, err = discovery.NewResolver(f.registry, &discovery.ResolverOptions{Telemetry: telemetry.Off()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.resolver.Close() })
	if strings.HasPrefix(t.Name(), "TestThroughARouter/") {
		f.route(router.Policy{})
	}
	return f
}

// node is one server of a fleet.
type node struct {
	*httptest.Server
	registration *discovery.Registration
	served       atomic.Int64
	opened       atomic.Int64 // connections
	open         atomic.Int64
}

// start starts a server of h and registers it as an instance of a service.
func (f *fleet) start(service, id string, h http.HandlerFunc, change ...func(*httptest.Server, *discovery.Instance)) *node {
	f.Helper()
	n := &node{}
	n.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == probePath { // of a router: this server answers none
			http.NotFound(w, r)
			return
		}
		n.served.Add(1)
		h(w, r)
	}))
	n.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			n.opened.Add(1)
			n.open.Add(1)
		case http.StateClosed, http.StateHijacked:
			n.open.Add(-1)
		}
	}
	instance := discovery.Instance{Service: service, ID: id, Weight: 100}
	for _, c := range change {
		c(n.Server, &instance)
	}
	if n.EnableHTTP2 || n.TLS != nil {
		n.StartTLS()
	} else {
		n.Start()
	}
	f.Cleanup(n.Server.Close)
	if instance.Addresses == nil {
		scheme, address, _ := strings.Cut(n.URL, "://")
		instance.Addresses = map[string]string{scheme: address}
	}
	n.register(f, instance)
	return n
}

func (n *node) register(f *fleet, instance discovery.Instance) {
	f.Helper()
	var err error
	if n.registration, err = f.registrar.Register(f.Context(), instance); err != nil {
		f.Fatal(err)
	}
	testenv.Eventually(f.T, 30*time.Second, "the instance is registered", func() error { return n.registration.Check(f.Context()) })
}

// kill ends the server like the death of its process: open connections are reset, without a goodbye.
func (n *node) kill() {
	_ = n.Listener.Close()
	n.CloseClientConnections()
}

// services returns a RoundTripper for services.
func (f *fleet) services(opts oshttp.ServicesOptions, names ...string) *oshttp.Services {
	f.Helper()
	opts.Names = names
	if opts.Telemetry == (telemetry.Providers{}) {
		opts.Telemetry = telemetry.Off()
	}
	if opts.Base == nil {
		opts.Base = &http.Transport{}
	}
	if opts.Router == nil {
		opts.Router = f.router
	}
	s, err := oshttp.NewServices(f.resolver, &opts)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.CloseIdleConnections)
	return s
}

func (f *fleet) client(names ...string) *http.Client {
	f.Helper()
	return &http.Client{Transport: f.services(oshttp.ServicesOptions{}, names...), Timeout: 20 * time.Second}
}

// see waits until the resolver has a state of a service.
func (f *fleet) see(service string, ok func(*discovery.Snapshot) bool) {
	f.Helper()
	testenv.Eventually(f.T, 10*time.Second, "the instances of "+service, func() error {
		s, err := f.resolver.Lookup(f.Context(), service)
		if err != nil {
			return err
		}
		if !ok(s) {
			return fmt.Errorf("instances: %+v", s.Instances)
		}
		return nil
	})
}

// answer returns a handler that answers with a text.
func answer(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// get returns the body of an answer with status 200.
func get(client *http.Client, target string) (string, error) {
	res, err := client.Get(target)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return string(body), err
}

// TestServices sends requests to three instances in proportion to their weights.
func TestServices(t *testing.T) {
	f := newFleet(t)
	weigh := func(w int) func(*httptest.Server, *discovery.Instance) {
		return func(_ *httptest.Server, i *discovery.Instance) { i.Weight = w }
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "orders" || r.URL.Path != "/orders/7" {
			t.Errorf("host %q, path %q", r.Host, r.URL.Path)
		}
	}
	a := f.start("orders", "a", handler, weigh(100))
	b := f.start("orders", "b", handler, weigh(100))
	c := f.start("orders", "c", handler, weigh(100))
	client := f.client("orders")
	send := func(n int) {
		t.Helper()
		for _, n := range []*node{a, b, c} {
			n.served.Store(0)
		}
		for range n {
			if _, err := get(client, "http://orders/orders/7"); err != nil {
				t.Fatal(err)
			}
		}
	}
	expect := func(what string, least, most [3]int64) {
		t.Helper()
		for i, n := range []*node{a, b, c} {
			if got := n.served.Load(); got < least[i] || got > most[i] {
				t.Errorf("%s: instance %d got %d requests, want %d to %d", what, i, got, least[i], most[i])
			}
		}
	}
	send(30)
	expect("equal weights", [3]int64{10, 10, 10}, [3]int64{10, 10, 10})
	if n := a.opened.Load(); n != 1 {
		t.Errorf("%d connections to one instance, want 1", n)
	}

	if err := b.registration.Update(t.Context(), func(i *discovery.Instance) { i.Weight = 300 }); err != nil {
		t.Fatal(err)
	}
	f.see("orders", func(s *discovery.Snapshot) bool { return s.Instances[1].Weight == 300 })
	send(100)
	expect("a triple weight", [3]int64{18, 56, 18}, [3]int64{22, 64, 22})
	if n := a.opened.Load() + b.opened.Load(); n != 2 {
		t.Errorf("%d connections after a change of weight, want the 2 from before", n)
	}

	if err := a.registration.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.registration.Update(t.Context(), func(i *discovery.Instance) { i.Weight = 0 }); err != nil {
		t.Fatal(err)
	}
	f.see("orders", func(s *discovery.Snapshot) bool {
		return s.Instances[0].State == discovery.Draining && s.Instances[1].Weight == 0
	})
	send(10)
	expect("draining, and weight zero", [3]int64{0, 0, 10}, [3]int64{0, 0, 10})
	testenv.Eventually(t, 10*time.Second, "idle connections are closed", func() error {
		if n := a.open.Load() + b.open.Load(); n != 0 {
			return fmt.Errorf("%d connections to instances that get no requests are open", n)
		}
		return nil
	})
}

// TestOnlyServices leaves all other hosts alone, even if a service has their name.
func TestOnlyServices(t *testing.T) {
	f := newFleet(t)
	stolen := f.start("example.com", "thief", answer("stolen"))
	f.start("orders", "a", answer("orders"))
	other := httptest.NewServer(answer("public"))
	t.Cleanup(other.Close)
	base := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "example.com:80" || address == "orders:8080" {
			address = other.Listener.Addr().String()
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	match := func(host string) (string, bool) { return strings.CutSuffix(host, ".internal") }
	client := &http.Client{Transport: f.services(oshttp.ServicesOptions{Base: base, Match: match}, "orders")}
	for target, want := range map[string]string{
		"http://example.com/":          "public",
		"http://orders:8080/":          "public",
		"http://orders/":               "orders",
		"http://orders.internal/":      "orders",
		"http://example.com.internal/": "stolen", // according to Match
	} {
		if got, err := get(client, target); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", target, got, err, want)
		}
	}
	if n := stolen.served.Load(); n != 1 {
		t.Errorf("the instance got %d requests, want 1", n)
	}
}

// TestServicesErrors names the service and the cause.
func TestServicesErrors(t *testing.T) {
	f := newFleet(t)
	client := f.client("orders", "unknown", "empty", "grpc-only", "dead")
	f.start("orders", "a", answer(""))
	empty := f.start("empty", "a", answer(""))
	f.see("empty", func(s *discovery.Snapshot) bool { return len(s.Instances) == 1 })
	if err := empty.registration.Close(); err != nil {
		t.Fatal(err)
	}
	f.see("empty", func(s *discovery.Snapshot) bool { return len(s.Instances) == 0 })
	f.start("grpc-only", "a", answer(""), func(_ *httptest.Server, i *discovery.Instance) {
		i.Addresses = map[string]string{"grpc": "127.0.0.1:9"}
	})
	f.start("dead", "i1", answer("")).kill()
	tests := []struct {
		target string
		class  error
		want   string
	}{
		{"http://unknown/", discovery.ErrNotFound, `discovery: lookup "unknown": not found: no instance has been registered`},
		{"http://empty/", discovery.ErrUnavailable, `discovery: lookup "empty": unavailable: all instances have deregistered`},
		{"http://grpc-only/", discovery.ErrUnavailable, `discovery: lookup "grpc-only": unavailable: none of the 1 instances has an address of the protocol "http"`},
		{"http://dead/", nil, `instance "i1" of "dead": dial tcp`},
	}
	for _, tt := range tests {
		_, err := client.Get(tt.target)
		var wrapped *url.Error
		if !errors.As(err, &wrapped) || tt.class != nil && !errors.Is(err, tt.class) || !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: %v, want %s", tt.target, err, tt.want)
		}
	}
	if _, err := get(client, "http://orders/"); err != nil {
		t.Error(err)
	}
	if err := f.resolver.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get("http://orders/"); !errors.Is(err, discovery.ErrClosed) {
		t.Errorf("after Close: %v, want ErrClosed", err)
	}
}

// TestNewServicesRefuses rejects options that cannot work.
func TestNewServicesRefuses(t *testing.T) {
	resolver := newFleet(t).resolver
	for _, tt := range []struct {
		resolver *discovery.Resolver
		opts     *oshttp.ServicesOptions
		want     string
	}{
		{nil, &oshttp.ServicesOptions{Names: []string{"orders"}}, "the resolver is nil"},
		{resolver, nil, "set Names or Match"},
		{resolver, &oshttp.ServicesOptions{Names: []string{""}}, `name "": use the name of a service`},
		{resolver, &oshttp.ServicesOptions{Names: []string{"orders:80"}}, `name "orders:80": use the name of a service, without a port`},
		{resolver, &oshttp.ServicesOptions{Names: []string{"orders"}, Timeout: -1}, "oshttp.ServicesOptions.Timeout is -1ns"},
	} {
		if _, err := oshttp.NewServices(tt.resolver, tt.opts); !errors.Is(err, discovery.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
}

// away is a registry that does not answer.
type away struct{ *kvdiscovery.Registry }

func (away) Watch(ctx context.Context, _ string, _ func(driver.Event) error) error {
	<-ctx.Done()
	return nil
}

// TestRegistryAway waits for the first answer, but not for ever, and ends with its caller.
func TestRegistryAway(t *testing.T) {
	f := newFleet(t)
	resolver, err := discovery.NewResolver(away{f.registry}, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resolver.Close() })
	f.resolver = resolver
	client := &http.Client{Transport: f.services(oshttp.ServicesOptions{Timeout: 10 * time.Millisecond}, "orders")}
	if _, err := client.Get("http://orders/"); !errors.Is(err, discovery.ErrUnavailable) || !strings.Contains(err.Error(), `"orders"`) {
		t.Errorf("%v, want ErrUnavailable and the name", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	patient := &http.Client{Transport: f.services(oshttp.ServicesOptions{Timeout: time.Hour}, "orders")}
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://orders/", nil)
	if _, err := patient.Do(r); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want Canceled", err)
	}
}
