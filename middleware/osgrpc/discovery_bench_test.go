package osgrpc_test

import (
	"fmt"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/resolver"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// BenchmarkDiscoveryUpdate is the time from a change of one of 1,000 instances to the new state of a ClientConn, the registry in memory
// included.
func BenchmarkDiscoveryUpdate(b *testing.B) {
	store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	defer func() { _ = store.Close() }()
	registry, err := kvdiscovery.New(store, nil)
	if err != nil {
		b.Fatal(err)
	}
	registrar, err := discovery.NewRegistrar(registry, &discovery.RegistrarOptions{Telemetry: telemetry.Off()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = registrar.Close() }()
	var one *discovery.Registration
	for n := range 1000 {
		one, err = registrar.Register(b.Context(), discovery.Instance{
			Service: "orders", ID: fmt.Sprint(n), Weight: 1, Addresses: map[string]string{"grpc": fmt.Sprintf("10.0.%d.%d:1", n/250, n%250+1)},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	r, err := discovery.NewResolver(registry, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	cc := &capturing{states: make(chan resolver.State, 10)}
	built, err := osgrpc.Builder(r, &osgrpc.DiscoveryOptions{Telemetry: telemetry.Off()}).Build(target("orders"), cc, resolver.BuildOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer built.Close()
	if s := <-cc.states; len(s.Endpoints) != 1000 {
		b.Fatalf("%d endpoints", len(s.Endpoints))
	}
	b.ReportAllocs()
	n := 1
	for b.Loop() {
		n++
		if err := one.Update(b.Context(), func(i *discovery.Instance) { i.Weight = n }); err != nil {
			b.Fatal(err)
		}
		<-cc.states
	}
}

// BenchmarkDiscoveryCall compares a call to a service with one to an address, over loopback.
func BenchmarkDiscoveryCall(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := listener.Addr().String()
	connect(b, &service{}, setup{listener: listener, target: address})
	registry, err := discovery.Static(discovery.Instance{Service: "orders", ID: "a", Weight: 1, Addresses: map[string]string{"grpc": address}})
	if err != nil {
		b.Fatal(err)
	}
	r, err := discovery.NewResolver(registry, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	for _, c := range []struct {
		name, target string
		options      []grpc.DialOption
	}{
		{"service", "os:///orders", osgrpc.WithDiscovery(r, &osgrpc.DiscoveryOptions{Telemetry: telemetry.Off()})},
		{"address", address, nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			conn, err := grpc.NewClient(c.target, append(c.options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			client := testpb.NewTestServiceClient(conn)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.UnaryCall(b.Context(), &testpb.SimpleRequest{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
