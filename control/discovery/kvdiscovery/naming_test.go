package kvdiscovery_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// plain is a fleet of gRPC servers in etcd, and a client of etcd's own resolver.
type plain struct {
	*testing.T
	client    *clientv3.Client
	registrar *discovery.Registrar
	endpoints endpoints.Manager
	health    healthpb.HealthClient
}

func newPlain(t *testing.T) *plain {
	t.Helper()
	client := connect(t, []string{testenv.Etcd(t).Endpoint()})
	store := kv.New(etcdkv.New(client, nil), &kv.Options{Telemetry: telemetry.Off()})
	registry, err := kvdiscovery.New(store.Namespace("services"), &kvdiscovery.Options{Naming: store.Namespace("grpc")})
	if err != nil {
		t.Fatal(err)
	}
	p := &plain{T: t, client: client}
	if p.registrar, err = discovery.NewRegistrar(registry, &discovery.RegistrarOptions{TTL: ttl, Telemetry: telemetry.Off()}); err != nil {
		t.Fatal(err)
	}
	if p.endpoints, err = endpoints.NewManager(client, "grpc/orders"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(p.registrar.Close(), store.Close()) })
	return p
}

// serve starts a gRPC server and registers it.
func (p *plain) serve(id string) (*discovery.Registration, string) {
	p.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.Fatal(err)
	}
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(listener) }()
	p.Cleanup(server.Stop)
	g, err := p.registrar.Register(p.Context(), discovery.Instance{
		Service: "orders", ID: id, Weight: 100, Zone: "a", Labels: map[string]string{"track": "canary"},
		Addresses: map[string]string{"grpc": listener.Addr().String()},
	})
	if err == nil {
		err = g.Check(p.Context())
	}
	if err != nil {
		p.Fatal(err)
	}
	return g, listener.Addr().String()
}

// dial connects a client that does not use this module.
func (p *plain) dial() {
	p.Helper()
	builder, err := resolver.NewBuilder(p.client)
	if err != nil {
		p.Fatal(err)
	}
	conn, err := grpc.NewClient("etcd:///grpc/orders", grpc.WithResolvers(builder), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { _ = conn.Close() })
	p.health = healthpb.NewHealthClient(conn)
}

// reaches waits until the client's requests reach exactly these servers.
func (p *plain) reaches(want ...string) {
	p.Helper()
	slices.Sort(want)
	testenv.Eventually(p, 10*time.Second, fmt.Sprint("requests reach ", want), func() error {
		seen := map[string]bool{}
		for range 20 {
			ctx, cancel := context.WithTimeout(p.Context(), time.Second)
			var server peer.Peer
			_, err := p.health.Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Peer(&server), grpc.WaitForReady(true))
			cancel()
			if err != nil {
				return err
			}
			seen[server.Addr.String()] = true
		}
		if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, want) {
			return fmt.Errorf("requests reach %v", got)
		}
		return nil
	})
}

// listed waits until etcd's own package lists exactly these addresses.
func (p *plain) listed(want ...string) {
	p.Helper()
	slices.Sort(want)
	testenv.Eventually(p, 10*time.Second, fmt.Sprint("the endpoints are ", want), func() error {
		all, err := p.endpoints.List(p.Context())
		if err != nil {
			return err
		}
		var got []string
		for _, e := range all {
			got = append(got, e.Addr)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			return fmt.Errorf("the endpoints are %v", got)
		}
		return nil
	})
}

// TestNaming finds instances through etcd's resolver with a plain gRPC client, while they drain, return, move and
// leave.
func TestNaming(t *testing.T) {
	p := newPlain(t)
	first, a := p.serve("i0")
	second, b := p.serve("i1")
	p.dial()
	p.reaches(a, b)

	if err := first.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.listed(b)
	p.reaches(b)
	if err := first.Update(t.Context(), func(i *discovery.Instance) { i.State = discovery.Up }); err != nil {
		t.Fatal(err)
	}
	p.reaches(a, b)

	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	p.listed(a)
	p.reaches(a)

	const moved = "127.0.0.1:1"
	if err := first.Update(t.Context(), func(i *discovery.Instance) { i.Addresses["grpc"] = moved }); err != nil {
		t.Fatal(err)
	}
	p.listed(moved)
	if err := p.registrar.Close(); err != nil {
		t.Fatal(err)
	}
	p.listed()
}

// TestNamingIsKept removes and alters endpoints, and ends their lease: each time the endpoint is written again.
func TestNamingIsKept(t *testing.T) {
	p := newPlain(t)
	g, a := p.serve("i0")
	all, err := p.endpoints.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for key, e := range all {
		if got := fmt.Sprint(e.Metadata); got != "map[labels:map[track:canary] weight:100 zone:a]" {
			t.Errorf("the metadata of %s is %s", key, got)
		}
		if err := p.endpoints.DeleteEndpoint(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	p.listed(a)
	if err := p.endpoints.AddEndpoint(t.Context(), "grpc/orders/i0", endpoints.Endpoint{Addr: "10.9.9.9:1"}); err != nil {
		t.Fatal(err)
	}
	p.listed(a)

	leases, err := p.client.Leases(t.Context())
	if err != nil || len(leases.Leases) != 1 {
		t.Fatalf("%d leases, error %v: want one", len(leases.Leases), err)
	}
	if _, err := p.client.Revoke(t.Context(), leases.Leases[0].ID); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, ttl, "the endpoint has another lease", func() error {
		resp, err := p.client.Get(t.Context(), "grpc/orders/i0")
		if err == nil && (len(resp.Kvs) != 1 || resp.Kvs[0].Lease == int64(leases.Leases[0].ID)) {
			err = fmt.Errorf("it is %v", resp.Kvs)
		}
		return err
	})
	p.listed(a)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	p.listed()
}

// TestNamingOfSuccessor deregisters in a superseded process: the endpoint of its successor stays.
func TestNamingOfSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
		defer func() { _ = store.Close() }()
		start := func(address string) (*discovery.Registrar, *discovery.Registration) {
			registry, err := kvdiscovery.New(store.Namespace("services"), &kvdiscovery.Options{Naming: store.Namespace("grpc"), NamingProtocol: "h2"})
			if err != nil {
				t.Fatal(err)
			}
			registrar, err := discovery.NewRegistrar(registry, &discovery.RegistrarOptions{Telemetry: telemetry.Off()})
			if err != nil {
				t.Fatal(err)
			}
			g, err := registrar.Register(t.Context(), discovery.Instance{
				Service: "orders", ID: "i0", Weight: 1, Addresses: map[string]string{"h2": address},
			})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return registrar, g
		}
		earlier, superseded := start("10.0.0.1:1")
		later, _ := start("10.0.0.2:1")
		if err := superseded.Check(t.Context()); !errors.Is(err, discovery.ErrConflict) {
			t.Errorf("the earlier process: %v, want ErrConflict", err)
		}
		if err := earlier.Close(); err != nil {
			t.Error(err)
		}
		it, err := store.Get(t.Context(), "grpc/orders/i0")
		if want := `{"Op":0,"Addr":"10.0.0.2:1","Metadata":{"weight":1}}`; err != nil || string(it.Value) != want {
			t.Errorf("the endpoint is %s, error %v: want %s", it.Value, err, want)
		}
		if err := later.Close(); err != nil {
			t.Error(err)
		}
		if _, err := store.Get(t.Context(), "grpc/orders/i0"); !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("after Close: %v, want ErrNotFound", err)
		}
	})
}

// TestNamingOptions gives New contradictory options.
func TestNamingOptions(t *testing.T) {
	store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	defer func() { _ = store.Close() }()
	for _, opts := range []*kvdiscovery.Options{{NamingProtocol: "grpc"}, {Naming: store}} {
		if _, err := kvdiscovery.New(store, opts); !errors.Is(err, discovery.ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", opts, err)
		}
	}
}
