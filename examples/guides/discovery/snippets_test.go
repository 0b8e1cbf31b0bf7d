package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/control/discovery/readnode"
	"github.com/go-os/go-os/control/discovery/readnodediscovery"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
)

// The short program of the guide.
func Example() {
	ctx := context.Background()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()

	registry, err := kvdiscovery.New(store.Namespace("services"), nil)
	if err != nil {
		log.Fatal(err)
	}
	registrar, err := discovery.NewRegistrar(registry, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer registrar.Close()
	_, err = registrar.Register(ctx, discovery.Instance{
		Service: "orders", ID: "orders-1", Addresses: map[string]string{"http": "10.0.0.7:8080"},
	})
	if err != nil {
		log.Fatal(err)
	}

	resolver, err := discovery.NewResolver(registry, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer resolver.Close()
	orders, err := resolver.Lookup(ctx, "orders")
	if err != nil {
		log.Fatal(err)
	}
	for _, instance := range orders.Instances {
		fmt.Println(instance.ID, instance.Addresses["http"], instance.State)
	}
	// Output: orders-1 10.0.0.7:8080 up
}

func Example_ttl() {
	registry, err := kvdiscovery.New(kv.New(memkv.New(nil), nil), nil)
	if err != nil {
		log.Fatal(err)
	}

	const ttl = 30 * time.Second
	registrar, err := discovery.NewRegistrar(registry, &discovery.RegistrarOptions{TTL: ttl})
	if err != nil {
		log.Fatal(err)
	}
	resolver, err := discovery.NewResolver(registry, &discovery.ResolverOptions{HoldWindow: ttl})
	if err != nil {
		log.Fatal(err)
	}

	fmt.Println(registrar.Close(), resolver.Close())
	// Output: <nil> <nil>
}

func Example_restart() {
	folder, err := os.MkdirTemp("", "discovery-*")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	registry, err := kvdiscovery.New(kv.New(memkv.New(nil), nil), nil)
	if err != nil {
		log.Fatal(err)
	}

	resolver, err := discovery.NewResolver(registry, &discovery.ResolverOptions{SnapshotDir: folder})
	if err != nil {
		log.Fatal(err)
	}

	fmt.Println(resolver.Close())
	// Output: <nil>
}

func Example_health() {
	registry, err := kvdiscovery.New(kv.New(memkv.New(nil), nil), nil)
	if err != nil {
		log.Fatal(err)
	}
	var database atomic.Pointer[error] // the last verdict of a check

	registrar, err := discovery.NewRegistrar(registry, &discovery.RegistrarOptions{
		Health: func(context.Context) error {
			if verdict := database.Load(); verdict != nil {
				return *verdict
			}
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}

	fmt.Println(registrar.Close())
	// Output: <nil>
}

// TestDrain is the other test of the guide: a registry in memory, and a fake clock.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kv.New(memkv.New(nil), nil)
		defer store.Close()
		registry, err := kvdiscovery.New(store, nil)
		if err != nil {
			t.Fatal(err)
		}
		registrar, err := discovery.NewRegistrar(registry, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer registrar.Close()
		resolver, err := discovery.NewResolver(registry, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resolver.Close()
		registration, err := registrar.Register(t.Context(), discovery.Instance{
			Service: "orders", ID: "orders-1", Addresses: map[string]string{"http": "10.0.0.7:8080"},
		})
		if err != nil {
			t.Fatal(err)
		}
		view, err := resolver.View(t.Context(), "orders", discovery.Available)
		if err != nil {
			t.Fatal(err)
		}

		if err := registration.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the watch has delivered it
		if n := len(view.Snapshot().Instances); n != 0 {
			t.Errorf("%d instances take requests, want none", n)
		}
	})
}

var errNoInstance = errors.New("no instance of prices takes requests")

// prices sends messages to the service prices.
type prices struct {
	resolver *discovery.Resolver
	view     *discovery.View
}

func newPrices(ctx context.Context, resolver *discovery.Resolver) (*prices, error) {
	view, err := resolver.View(ctx, "prices", discovery.Available)
	if err != nil {
		return nil, err
	}
	return &prices{resolver, view}, nil
}

// send tries the instances, in random order, until it can connect to one.
func (p *prices) send(ctx context.Context, message string, deliver func(ctx context.Context, address, message string) error) error {
	instances := p.view.Snapshot().Instances
	err := errNoInstance
	for _, n := range rand.Perm(len(instances)) {
		instance := &instances[n]
		err = deliver(ctx, instance.Addresses["http"], message)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.resolver.Report("prices", instance.ID, err == nil)
		if err == nil {
			return nil
		}
	}
	return err
}

// ask connects to an instance.
func ask(ctx context.Context, address, _ string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// TestNoInstance calls a service without instances that accept requests, and one with only a dead instance.
func TestNoInstance(t *testing.T) {
	dead := discovery.Instance{Service: "prices", ID: "test", Addresses: map[string]string{"http": "127.0.0.1:1"}}
	drains := dead
	drains.State = discovery.Draining
	for _, c := range []struct {
		instances []discovery.Instance
		want      error
	}{{nil, errNoInstance}, {[]discovery.Instance{drains}, errNoInstance}, {[]discovery.Instance{dead}, syscall.ECONNREFUSED}} {
		registry, err := discovery.Static(c.instances...)
		if err != nil {
			t.Fatal(err)
		}
		resolver, err := discovery.NewResolver(registry, nil)
		if err != nil {
			t.Fatal(err)
		}
		p, err := newPrices(t.Context(), resolver)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.send(t.Context(), "", ask); !errors.Is(err, c.want) {
			t.Errorf("send = %v, want %v", err, c.want)
		}
		if err := resolver.Close(); err != nil {
			t.Error(err)
		}
	}
}

func dial(resolver *discovery.Resolver) (*grpc.ClientConn, error) {
	options := append(osgrpc.DialOptions(nil), osgrpc.WithDiscovery(resolver, nil)...)
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	return grpc.NewClient("os:///orders", options...)
}

// cutOff is a registry that can be out of reach of its registrars.
type cutOff struct {
	driver.Registrar
	away atomic.Bool
}

func (c *cutOff) Grant(ctx context.Context, ttl time.Duration) (driver.Lease, error) {
	if c.away.Load() {
		return nil, driver.ErrUnavailable
	}
	lease, err := c.Registrar.Grant(ctx, ttl)
	return cutOffLease{lease, c}, err
}

type cutOffLease struct {
	driver.Lease
	registry *cutOff
}

func (l cutOffLease) Renew(ctx context.Context) error {
	if l.registry.away.Load() {
		return driver.ErrUnavailable
	}
	return l.Lease.Renew(ctx)
}

// TestReadyBeforeProbe loses the registry after Register and before the first probe. The process must stay ready.
func TestReadyBeforeProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kv.New(memkv.New(nil), nil)
		registry, err := kvdiscovery.New(store, nil)
		if err != nil {
			t.Fatal(err)
		}
		cut := &cutOff{Registrar: registry}
		registrar, err := discovery.NewRegistrar(cut, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = errors.Join(registrar.Close(), store.Close()) }()
		registration, err := registrar.Register(t.Context(), discovery.Instance{
			Service: "storefront", ID: "test", Addresses: map[string]string{"http": "10.0.0.7:8080"},
		})
		if err != nil {
			t.Fatal(err)
		}
		var ready readiness
		ready.start(t.Context(), registration)
		cut.away.Store(true)
		time.Sleep(time.Minute) // the lease ends
		if err := registration.Check(t.Context()); !errors.Is(err, discovery.ErrUnavailable) {
			t.Fatalf("Check = %v", err)
		}
		w := httptest.NewRecorder()
		ready.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		if w.Code != http.StatusOK {
			t.Errorf("not ready: %s", w.Body)
		}
	})
}

func newReader(registry driver.Reader, nodes ...string) (*discovery.Resolver, error) {
	var conns []grpc.ClientConnInterface
	for _, node := range nodes { // "readnode-1:7600", "readnode-2:7600"
		conn, err := grpc.NewClient(node, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		conns = append(conns, conn)
	}
	reader, err := readnodediscovery.New(conns, &readnodediscovery.Options{Engine: registry})
	if err != nil {
		return nil, err
	}
	return discovery.NewResolver(reader, nil)
}

// TestReadNode looks a service up through a read node.
func TestReadNode(t *testing.T) {
	instance := discovery.Instance{Service: "orders", ID: "test", Addresses: map[string]string{"http": "10.0.0.7:8080"}}
	registry, err := discovery.Static(instance)
	if err != nil {
		t.Fatal(err)
	}
	node, err := readnode.New(registry, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	server := grpc.NewServer()
	node.Register(server)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	defer server.Stop()
	resolver, err := newReader(nil, listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer resolver.Close()
	if s, err := resolver.Lookup(t.Context(), "orders"); err != nil || len(s.Instances) != 1 || s.Instances[0].ID != "test" {
		t.Errorf("Lookup = %v, %v", s, err)
	}
}

func newServer() *grpc.Server {
	return grpc.NewServer(osgrpc.ServerOptions(&osgrpc.Options{Services: []string{"orders"}})...)
}

// TestDial calls a gRPC service by name.
func TestDial(t *testing.T) {
	server := newServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	defer server.Stop()
	registry, err := discovery.Static(discovery.Instance{
		Service: "orders", ID: "test", Addresses: map[string]string{"grpc": listener.Addr().String()},
	})
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := discovery.NewResolver(registry, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resolver.Close()
	conn, err := dial(resolver)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
}
