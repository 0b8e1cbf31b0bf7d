package osgrpc_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/internal/tooling/servicetest"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/telemetry"
)

// router returns a Router on the resolver of the fleet, with one policy for all services.
func (f *fleet) router(policy router.Policy) *router.Router {
	f.Helper()
	r, err := router.New(f.resolver, &router.Options{Policies: map[string]router.Policy{"*": policy}, Telemetry: telemetry.Off()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = r.Close() })
	return r
}

// repeatable has all calls be repeated and hedged.
func repeatable(_ context.Context, _ string, r *router.Request) {
	r.Idempotent, r.Hedgeable = true, true
}

// routed returns a client of orders whose instances a Router chooses.
func (f *fleet) routed(policy router.Policy, more ...grpc.DialOption) testpb.TestServiceClient {
	f.Helper()
	return f.dial("os:///orders", osgrpc.DiscoveryOptions{Router: f.router(policy), Request: repeatable}, more...)
}

// reach makes calls until each instance has answered.
func (f *fleet) reach(client testpb.TestServiceClient, ids ...string) {
	f.Helper()
	seen := map[string]bool{}
	eventually(f, fmt.Sprint("answers of ", ids), func() bool {
		id, err := call(f.Context(), client)
		if err != nil {
			f.Fatal(err)
		}
		seen[id] = true
		for _, id := range ids {
			if !seen[id] {
				return false
			}
		}
		return true
	})
}

// connect makes calls until a client is connected to all servers of the fleet. The first calls of a client know only some of them.
func (f *fleet) connect(client testpb.TestServiceClient, servers int64) {
	f.Helper()
	eventually(f, "connections", func() bool {
		_, _ = client.EmptyCall(f.Context(), &testpb.Empty{})
		return f.connections() == servers
	})
	time.Sleep(20 * time.Millisecond) // for the client's side
}

// dialWith returns a connection with these options.
func dialWith(t testing.TB, target string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(target, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestRouted follows the registry. A change of an instance keeps its connection.
func TestRouted(t *testing.T) {
	f := newFleet(t)
	a, b := f.start("orders", "a", "127.0.0.1:0"), f.start("orders", "b", "127.0.0.1:0")
	client := f.routed(router.Policy{})
	f.reach(client, "a", "b")
	for n := range 20 {
		a.update(t, func(i *discovery.Instance) { i.Labels = map[string]string{"n": fmt.Sprint(n)} })
	}
	f.start("orders", "c", "[::1]:0")
	f.reach(client, "a", "b", "c")
	if n := a.opened.Load(); n != 1 {
		t.Errorf("%d connections to an instance that only changed, want 1", n)
	}
	if err := b.registration.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the goodbye", func() bool {
		before := b.served.Load()
		for range 20 {
			if _, err := call(t.Context(), client); err != nil {
				t.Fatal(err)
			}
		}
		return b.served.Load() == before
	})
	if _, ok := a.wanted.Load("[orders]"); !ok {
		t.Error("the calls do not name their service")
	}
}

// TestRoutedStreams sends and receives on streams.
func TestRoutedStreams(t *testing.T) {
	f := newFleet(t)
	f.start("orders", "a", "127.0.0.1:0")
	client := f.routed(router.Policy{})
	var ended atomic.Int64
	stream, err := client.FullDuplexCall(t.Context(), grpc.OnFinish(func(error) { ended.Add(1) }))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: payload(i)}); err != nil {
			t.Fatal(err)
		}
		if r, err := stream.Recv(); err != nil || len(r.GetPayload().GetBody()) != i {
			t.Fatalf("message %d: %v, %v", i, r, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("%v, want EOF", err)
	}
	if n := ended.Load(); n != 1 {
		t.Errorf("OnFinish was called %d times, want once", n)
	}
}

// TestRoutedErrors names the service and the cause if there is no instance, also while the registry has not answered.
func TestRoutedErrors(t *testing.T) {
	f := newFleet(t)
	n := f.start("orders", "a", "127.0.0.1:0")
	r := f.router(router.Policy{})
	for target, want := range map[string]string{
		"os:///unknown": `discovery: lookup "unknown": not found: no instance has been registered`,
		"os:///a/b":     `osgrpc: target "os:///a/b": use "os:///<service>"`,
	} {
		_, err := call(t.Context(), f.dial(target, osgrpc.DiscoveryOptions{Router: r}))
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want UNAVAILABLE and %s", target, err, want)
		}
	}
	_, err := call(t.Context(), f.dial("os:///orders", osgrpc.DiscoveryOptions{Router: r, Filters: []discovery.Filter{discovery.InZone("z")}}))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "none of the 1 instances") {
		t.Errorf("a filter that accepts none: %v", err)
	}
	client := f.dial("os:///orders", osgrpc.DiscoveryOptions{Router: r})
	f.reach(client, "a")
	if err := n.registration.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the goodbye", func() bool {
		_, err = call(t.Context(), client)
		return err != nil
	})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "all instances have deregistered") {
		t.Errorf("%v, want UNAVAILABLE and the cause", err)
	}
	n.register(f, discovery.Instance{Service: "orders", ID: "b", Weight: 1, Addresses: map[string]string{"grpc": n.address}})
	eventually(t, "the return", func() bool { _, err := call(t.Context(), client); return err == nil })
}

// TestRoutedElsewhere calls a target of another scheme.
func TestRoutedElsewhere(t *testing.T) {
	f := newFleet(t)
	n := f.start("orders", "a", "127.0.0.1:0")
	client := f.dial("passthrough:///"+n.address, osgrpc.DiscoveryOptions{Router: f.router(router.Policy{})})
	_, err := call(t.Context(), client)
	if err != nil {
		t.Error(err)
	}
}

// TestRoutedMisdirected makes a call elsewhere if the address of an instance is another service's by now.
func TestRoutedMisdirected(t *testing.T) {
	f := newFleet(t)
	wrong := f.start("orders", "a", "127.0.0.1:0", of("payments")...)
	f.start("orders", "b", "127.0.0.1:0", of("orders")...)
	rec := newRecorder()
	client := f.dial("os:///orders", osgrpc.DiscoveryOptions{Router: f.router(router.Policy{}), Telemetry: rec.Providers})
	for range 20 {
		if id, err := call(t.Context(), client); id != "b" || err != nil {
			t.Fatalf("%q, %v", id, err)
		}
		stream, err := client.FullDuplexCall(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.CloseSend()
		if _, err := stream.Recv(); err != io.EOF {
			t.Fatalf("%v, want EOF", err)
		}
	}
	if n := wrong.served.Load(); n != 0 {
		t.Errorf("a handler of payments has got %d calls of orders", n)
	}
	if n := len(rec.records()); n != 1 {
		t.Errorf("%d events, want one refusal", n)
	}
}

// TestRoutedKilled kills one of five instances under load: no call that may be repeated fails.
func TestRoutedKilled(t *testing.T) {
	f := newFleet(t)
	var nodes []*node
	for i := range 5 {
		nodes = append(nodes, f.start("orders", fmt.Sprint("i", i), "127.0.0.1:0"))
	}
	client := f.routed(router.Policy{})
	f.reach(client, "i0", "i1", "i2", "i3", "i4")
	stop := servicetest.Load(8, func() error { _, err := call(t.Context(), client); return err })
	for _, n := range nodes {
		servicetest.Serves(t, "calls", &n.served, 50)
	}
	nodes[1].Stop()
	servicetest.Serves(t, "calls", &nodes[0].served, 200)
	if n, failed := stop(); len(failed) > 0 {
		t.Errorf("%d of %d calls failed: %v", len(failed), n, failed[0])
	}
}

// TestRoutedTwins has two instances at one address share a connection.
func TestRoutedTwins(t *testing.T) {
	f := newFleet(t)
	a := f.start("orders", "a", "127.0.0.1:0")
	a.register(f, discovery.Instance{Service: "orders", ID: "b", Weight: 1, Addresses: map[string]string{"grpc": a.address}})
	client := f.routed(router.Policy{})
	for range 20 {
		if _, err := call(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	if n := a.opened.Load(); n != 1 {
		t.Errorf("%d connections to one address, want 1", n)
	}
}
