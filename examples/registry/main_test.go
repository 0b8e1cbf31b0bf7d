package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/consuldiscovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/examples/internal/engine"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/telemetry"
)

func TestMain(m *testing.M) { os.Exit(testenv.Run(m)) }

// shell runs commands on one registry.
type shell struct {
	t   *testing.T
	url string
}

// call runs a command and returns its output on both streams.
func (s shell) call(args ...string) (string, error) {
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	err := run(ctx, append([]string{"-registry", s.url}, args...), &out, &out)
	return out.String(), err
}

// expect checks that a command succeeds and prints texts that match expressions, one after the other.
func (s shell) expect(want string, args ...string) {
	s.t.Helper()
	out, err := s.call(args...)
	if err != nil || !regexp.MustCompile("(?s)^"+want+"$").MatchString(out) {
		s.t.Errorf("%v: %v\ngot\n%s\nwant\n%s", args, err, out, want)
	}
}

// refuse checks that a command fails with an error.
func (s shell) refuse(is error, want string, args ...string) {
	s.t.Helper()
	if out, err := s.call(args...); err == nil || is != nil && !errors.Is(err, is) || !strings.Contains(err.Error(), want) {
		s.t.Errorf("%v: %v\nwant %s\n%s", args, err, want, out)
	}
}

// store returns the store of an etcd.
func store(t *testing.T, etcd *testenv.EtcdHandle) *kv.Store {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{etcd.Addr(0)}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	s := kv.New(etcdkv.New(client, nil), &kv.Options{Telemetry: telemetry.Off()})
	t.Cleanup(func() { _ = errors.Join(s.Close(), client.Close()) })
	return s.Namespace("services")
}

// register registers instances in a store, in a process of their own, until the test ends.
func register(t *testing.T, s *kv.Store, instances ...discovery.Instance) []*discovery.Registration {
	t.Helper()
	registry, err := kvdiscovery.New(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return registerIn(t, registry, instances...)
}

func registerIn(t *testing.T, d driver.Registrar, instances ...discovery.Instance) (all []*discovery.Registration) {
	t.Helper()
	ttl := max(3*time.Second, d.Capabilities().MinTTL)
	registrar, err := discovery.NewRegistrar(d, &discovery.RegistrarOptions{TTL: ttl, Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := registrar.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, i := range instances {
		g, err := registrar.Register(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, g)
	}
	return all
}

func instance(service, id string) discovery.Instance {
	return discovery.Instance{
		Service: service, ID: id, Version: "1.4.2", Zone: "eu-1a", Weight: 100,
		Addresses: map[string]string{"http": "10.0.0.7:80", "grpc": "10.0.0.7:9000"},
	}
}

// TestCommands lists, drains and undrains instances on etcd.
func TestCommands(t *testing.T) {
	t.Parallel()
	etcd := testenv.Etcd(t)
	records := store(t, etcd)
	s := shell{t, "etcd://" + etcd.Addr(0) + "?namespace=services"}
	const head, rest = `SERVICE +INSTANCE +STATE +AGE +VERSION +ZONE +WEIGHT +ADDRESSES\n`, ` +\d+s +1\.4\.2 +eu-1a +100 +grpc=10\.0\.0\.7:9000 http=10\.0\.0\.7:80\n`
	s.expect(head, "list")

	plain := instance("payments", "p1")
	plain.Version, plain.Zone = "", ""
	registrations := register(t, records, instance("orders", "o1"), instance("orders", "o2"), plain)
	s.expect(head + `orders +o1 +up` + rest + `orders +o2 +up` + rest + `payments +p1 +up +\d+s +- +- +100 +grpc=\S+ http=\S+\n`)
	s.expect(head+`orders +o1 +up`+rest+`orders +o2 +up`+rest, "list", "orders")
	s.refuse(nil, `etcd has no instance of service "order"`, "list", "orders", "order")

	s.expect("orders o1: draining\n", "drain", "orders", "o1", "-for", "1h")
	s.expect(head+`orders +o1 +draining`+rest+`orders +o2 +up`+rest, "list", "orders")
	if err := registrations[0].Check(t.Context()); err != nil {
		t.Errorf("a drained instance is registered: %v", err)
	}
	s.expect("orders o1: up\n", "undrain", "orders", "o1")
	s.refuse(driver.ErrNotFound, "nobody has ordered", "undrain", "orders", "o1")
	s.refuse(driver.ErrNotFound, `etcd has no instance "o3" of service "orders": check the names`, "drain", "orders", "o3")

	if err := registrations[1].Close(); err != nil {
		t.Error(err)
	}
	s.expect(head+`orders +o1 +up`+rest, "list", "orders")
	s.expect(head+`orders +o1 +up`+rest+`orders +o2 +gone`+rest, "list", "-all", "orders")
	s.refuse(driver.ErrNotFound, "has deregistered", "drain", "orders", "o2")

	if _, err := records.Put(t.Context(), "orders/bad", []byte("\x1b[31m{")); err != nil {
		t.Fatal(err)
	}
	s.expect(head+`orders +o1 +up`+rest+`orders +bad +invalid: [^\x1b]+\n`, "list", "orders")

	// A record without a process: no process follows the order.
	record := `{"addresses": {"grpc": "10.0.0.8:9000"}, "state": "up", "incarnation": "x", "epoch": 1}`
	if _, err := records.Put(t.Context(), "dead/d1", []byte(record)); err != nil {
		t.Fatal(err)
	}
	s.refuse(nil, "has not followed it within 500ms", "-timeout", "500ms", "drain", "dead", "d1")
	s.expect(head+`dead +d1 +up +\d+d .*`, "list", "dead")
}

// output collects the output of a command.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// has waits until a line matches an expression.
func (o *output) has(t *testing.T, want string) {
	t.Helper()
	re := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d ` + want + `$`)
	testenv.Eventually(t, 30*time.Second, "a line "+want, func() error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if !re.MatchString(o.text.String()) {
			return fmt.Errorf("the output is\n%s", o.text.String())
		}
		return nil
	})
}

// TestWatch prints every change, and continues after an outage.
func TestWatch(t *testing.T) {
	t.Parallel()
	etcd := testenv.Etcd(t)
	records := store(t, etcd)
	register(t, records, instance("orders", "o1"))
	var out output
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"-registry", "etcd://" + etcd.Addr(0) + "?namespace=services", "watch"}, &out, &out)
	}()
	out.has(t, `\+ orders o1 up version=1\.4\.2 zone=eu-1a weight=100 grpc=\S+ http=\S+`)
	out.has(t, `= orders: 1 instances`)

	later := register(t, records, instance("orders", "o2"), instance("payments", "p1"))
	out.has(t, `\+ orders o2 up .*`)
	out.has(t, `\+ payments p1 up .*`) // a service that was not there at first
	if err := later[0].Drain(t.Context()); err != nil {
		t.Error(err)
	}
	out.has(t, `~ orders o2 draining .*`)
	if err := later[0].Close(); err != nil {
		t.Error(err)
	}
	out.has(t, `- orders o2: gone`)
	if _, err := records.Put(t.Context(), "orders/bad\n", []byte("{")); err != nil {
		t.Fatal(err)
	}
	out.has(t, `! orders bad�: invalid: .*`)
	if _, err := records.Put(t.Context(), "orders/o9", []byte(`{"addresses": {"grpc": "h:1"}, "state": "up"}`)); err != nil {
		t.Fatal(err)
	}
	out.has(t, `\+ orders o9 up .*`)
	if err := records.Delete(t.Context(), "orders/o9"); err != nil {
		t.Fatal(err)
	}
	out.has(t, `- orders o9: vanished without a goodbye`)

	etcd.Kill()
	out.has(t, `! orders: out of reach: .*`)
	etcd.Restart()
	register(t, records, instance("orders", "o3"))
	out.has(t, `\+ orders o3 up .*`)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("after an interrupt: %v", err)
	}
}

// TestWatchOfVanished removes an instance while the program does not reach the engine. The next snapshot lacks it, so it is printed as vanished.
func TestWatchOfVanished(t *testing.T) {
	t.Parallel()
	etcd := testenv.Etcd(t)
	network := testenv.Proxy(t, etcd.Addr(0))
	records := store(t, etcd)
	for _, id := range []string{"o1", "o2"} {
		if _, err := records.Put(t.Context(), "orders/"+id, []byte(`{"addresses": {"grpc": "h:1"}, "state": "up"}`)); err != nil {
			t.Fatal(err)
		}
	}
	var out output
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"-registry", "etcd://" + network.Endpoint() + "?namespace=services", "watch", "orders"}, &out, &out)
	}()
	out.has(t, `= orders: 2 instances`)

	network.Cut()
	out.has(t, `! orders: out of reach: .*`)
	if err := records.Delete(t.Context(), "orders/o1"); err != nil {
		t.Fatal(err)
	}
	compact(t, etcd) // the watch cannot resume before the removal
	network.Heal()
	out.has(t, `- orders o1: vanished without a goodbye`)
	out.has(t, `= orders: 1 instances`)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("after an interrupt: %v", err)
	}
}

// compact removes all earlier revisions of an etcd.
func compact(t *testing.T, etcd *testenv.EtcdHandle) {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{etcd.Addr(0)}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	resp, err := client.Get(t.Context(), "services")
	if err == nil {
		_, err = client.Compact(t.Context(), resp.Header.Revision)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestDNS lists instances of DNS, which has no list of services and takes no orders.
func TestDNS(t *testing.T) {
	t.Parallel()
	dns := testenv.DNS(t, "example.", "orders A 10.0.0.1\n_http._tcp.orders SRV 0 5 80 a\na A 10.0.0.2")
	s := shell{t, "dns://" + dns.Addr(0) + "/example?grpc=9000&http=srv"}
	s.expect(`SERVICE .*orders +10\.0\.0\.1 +up +- +- +- +1 +grpc=10\.0\.0\.1:9000\norders +a\.example:80 +up +- +- +- +5 +http=10\.0\.0\.2:80\n`, "list", "orders")
	s.refuse(errUsage, "dns cannot list its services: name them")
	s.refuse(errors.ErrUnsupported, "dns cannot drain an instance from outside", "drain", "orders", "10.0.0.1")
	s.refuse(nil, `dns has no instance of service "nosuch"`, "list", "nosuch")
	dns.Kill()
	s.refuse(context.DeadlineExceeded, "connection refused", "-timeout", "500ms", "list", "orders")
}

// TestNATS lists and drains an instance on NATS.
func TestNATS(t *testing.T) {
	t.Parallel()
	url := "nats://" + testenv.NATS(t).Addr(0) + "?namespace=services"
	e, err := engine.Open(t.Context(), url, engine.Options{Flag: "-registry", Schemes: []string{"nats"}, Store: kv.Options{Telemetry: telemetry.Off()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	register(t, e.Store, instance("orders", "o1"))
	s := shell{t, url}
	s.expect(`SERVICE .*orders +o1 +up .*`, "list")
	s.expect("orders o1: draining\n", "drain", "orders", "o1")
}

// TestCatalog lists instances of Consul's own catalog.
func TestCatalog(t *testing.T) {
	t.Parallel()
	consul := testenv.Consul(t)
	client, err := api.NewClient(&api.Config{Address: consul.Addr(0)})
	if err != nil {
		t.Fatal(err)
	}
	catalog, err := consuldiscovery.New(client, nil)
	if err != nil {
		t.Fatal(err)
	}
	registerIn(t, catalog, instance("orders", "o1"))
	s := shell{t, "catalog://" + consul.Addr(0)}
	testenv.Eventually(t, 30*time.Second, "the instance", func() error {
		out, err := s.call("list", "orders")
		if err == nil && !regexp.MustCompile(`orders +o1 +up +\d+s +1\.4\.2 +eu-1a +100 +grpc=10\.0\.0\.7:9000 http=10\.0\.0\.7:80\n`).MatchString(out) {
			err = errors.New(out)
		}
		return err
	})
	s.refuse(errors.ErrUnsupported, "consul cannot drain an instance from outside", "drain", "orders", "o1")
}

// TestMistakes checks the errors of mistakes on the command line.
func TestMistakes(t *testing.T) {
	t.Parallel()
	s := shell{t, "dns://127.0.0.1/example?grpc=1"}
	for want, args := range map[string][]string{
		"-registry is missing":              {"-registry", "", "list"},
		`there is no command "lst"`:         {"lst"},
		"name a service and the ID":         {"drain", "orders"},
		"-for is -1s: give a positive":      {"drain", "orders", "o1", "-for", "-1s"},
		"flag provided but not defined":     {"list", "-no-such-flag"},
		"is not an IP address":              {"-registry", "dns://localhost/example?grpc=1", "list"},
		"grpc=x: give a port, or srv":       {"-registry", "dns://127.0.0.1/example?grpc=x", "list"},
		"no protocol: add ?grpc=9000":       {"-registry", "dns://127.0.0.1/example", "list"},
		"no name: set Options.Domain":       {"-registry", "dns://127.0.0.1?grpc=1", "list"},
		"its scheme is redis":               {"-registry", "redis://127.0.0.1:1", "list"},
		"a catalog has no namespace":        {"-registry", "catalog://127.0.0.1:1?namespace=x", "list"},
		"Consul knows no users: write cata": {"-registry", "catalog://me:x@127.0.0.1:1", "list"},
		"must be etcd://host:port, consul:": {"-registry", "nonsense", "list"},
	} {
		s.refuse(errUsage, want, args...)
	}
	s.refuse(flag.ErrHelp, "", "-h")
	s.refuse(flag.ErrHelp, "", "list", "-h")
	s.refuse(nil, "is it running there", "-registry", "etcd://127.0.0.1:1", "-timeout", "300ms", "list")
	if out, _ := s.call("-h"); !strings.Contains(out, "undrain SERVICE ID") {
		t.Errorf("the usage is %s", out)
	}
}
