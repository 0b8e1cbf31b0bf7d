package osgrpc_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/url"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/internal/tooling/servicetest"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// fleet is a registry, and servers that register there.
type fleet struct {
	*testing.T
	store     *kv.Store
	registry  *kvdiscovery.Registry
	registrar *discovery.Registrar
	resolver  *discovery.Resolver
	nodes     []*node
}

// connections returns how many connections its servers have accepted.
func (f *fleet) connections() (sum int64) {
	for _, n := range f.nodes {
		sum += n.opened.Load()
	}
	return sum
}

// newFleet returns a fleet with a registry in memory.
func newFleet(t *testing.T) *fleet {
	store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	t.Cleanup(func() { _ = store.Close() })
	return newFleetIn(t, store)
}

func newFleetIn(t *testing.T, store *kv.Store) *fleet {
	t.Helper()
	f := &fleet{T: t, store: store}
	var err error
	if f.registry, err = kvdiscovery.New(store, nil); err != nil {
		t.Fatal(err)
	}
	if f.registrar, err = discovery.NewRegistrar(f.registry, &discovery.RegistrarOptions{Telemetry: telemetry.Off()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.registrar.Close() })
	f.resolver = f.resolverOn(f.registry)
	return f
}

func (f *fleet) resolverOn(r driver.Reader) *discovery.Resolver {
	f.Helper()
	resolver, err := discovery.NewResolver(r, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = resolver.Close() })
	return resolver
}

// node is one server of a fleet.
type node struct {
	*grpc.Server
	address      string
	registration *discovery.Registration
	served       atomic.Int64
	opened       atomic.Int64 // connections
	wanted       sync.Map     // services that calls were for
}

// counted counts the connections of a listener.
type counted struct {
	net.Listener
	opened *atomic.Int64
}

func (l counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.opened.Add(1)
	}
	return c, err
}

// start starts a server at an address, and registers it as an instance of a service.
func (f *fleet) start(name, id, address string, opts ...grpc.ServerOption) *node {
	f.Helper()
	n := &node{}
	count := func(ctx context.Context) {
		n.served.Add(1)
		if md, ok := metadata.FromIncomingContext(ctx); ok {
			n.wanted.Store(fmt.Sprint(md["goos-service"]), true)
		}
	}
	f.run(n, name, id, address, &service{
		unary: func(ctx context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			count(ctx)
			return &testpb.SimpleResponse{Payload: r.GetPayload(), Hostname: id}, nil
		},
		duplex: func(stream testpb.TestService_FullDuplexCallServer) error {
			count(stream.Context())
			return echo(stream)
		},
	}, opts...)
	return n
}

// serve starts a server with a service, and registers it as an instance.
func (f *fleet) serve(name, id string, svc *service, opts ...grpc.ServerOption) *node {
	f.Helper()
	n := &node{}
	f.run(n, name, id, "127.0.0.1:0", svc, opts...)
	return n
}

// run starts the server of a node at an address, and registers it.
func (f *fleet) run(n *node, name, id, address string, svc *service, opts ...grpc.ServerOption) {
	f.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		f.Fatal(err)
	}
	n.address = listener.Addr().String()
	n.Server = grpc.NewServer(opts...)
	testpb.RegisterTestServiceServer(n.Server, svc)
	go func() { _ = n.Serve(counted{listener, &n.opened}) }()
	f.Cleanup(n.Stop)
	f.nodes = append(f.nodes, n)
	n.register(f, discovery.Instance{Service: name, ID: id, Weight: 100, Addresses: map[string]string{"grpc": n.address}})
}

func echo(stream testpb.TestService_FullDuplexCallServer) error {
	for {
		r, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: r.GetPayload()}); err != nil {
			return err
		}
	}
}

func (n *node) register(f *fleet, instance discovery.Instance) {
	f.Helper()
	var err error
	if n.registration, err = f.registrar.Register(f.Context(), instance); err != nil {
		f.Fatal(err)
	}
	if err := n.registration.Check(f.Context()); err != nil {
		f.Fatal(err)
	}
}

func (n *node) update(t testing.TB, change func(*discovery.Instance)) {
	t.Helper()
	if err := n.registration.Update(t.Context(), change); err != nil {
		t.Fatal(err)
	}
}

// dial returns a client of a target.
func (f *fleet) dial(target string, opts osgrpc.DiscoveryOptions, more ...grpc.DialOption) testpb.TestServiceClient {
	f.Helper()
	if opts.Telemetry == (telemetry.Providers{}) {
		opts.Telemetry = telemetry.Off()
	}
	options := append(osgrpc.WithDiscovery(f.resolver, &opts), grpc.WithTransportCredentials(insecure.NewCredentials()))
	conn, err := grpc.NewClient(target, append(options, more...)...)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = conn.Close() })
	return testpb.NewTestServiceClient(conn)
}

// call makes a call, and returns the ID of the instance that has answered.
func call(ctx context.Context, client testpb.TestServiceClient, opts ...grpc.CallOption) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := client.UnaryCall(ctx, &testpb.SimpleRequest{}, opts...)
	return r.GetHostname(), err
}

// settle makes calls until exactly these instances answer, the same number each.
func (f *fleet) settle(client testpb.TestServiceClient, ids ...string) {
	f.Helper()
	last := ""
	ok := func() bool {
		got := map[string]int{}
		for range 5 * len(ids) {
			id, err := call(f.Context(), client)
			if err != nil {
				f.Fatal(err)
			}
			got[id]++
		}
		last = fmt.Sprint(got)
		for _, id := range ids {
			if got[id] != 5 {
				return false
			}
		}
		return true
	}
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			f.Fatalf("calls were answered by %s, want 5 by each of %v", last, ids)
		}
	}
}

// TestDiscovery has calls go round the available instances. Changes keep the connections.
func TestDiscovery(t *testing.T) {
	f := newFleet(t)
	a, b, c := f.start("orders", "a", "127.0.0.1:0"), f.start("orders", "b", "127.0.0.1:0"), f.start("orders", "c", "[::1]:0")
	client := f.dial("os:///orders", osgrpc.DiscoveryOptions{})
	f.settle(client, "a", "b", "c")
	for n := range 20 {
		a.update(t, func(i *discovery.Instance) { i.Weight, i.Labels = 100+n, map[string]string{"n": fmt.Sprint(n)} })
	}
	c.update(t, func(i *discovery.Instance) { i.State = discovery.Draining })
	f.settle(client, "a", "b")
	b.update(t, func(i *discovery.Instance) { i.Weight = 0 })
	f.settle(client, "a")
	a.update(t, func(i *discovery.Instance) { i.State = discovery.Draining })
	f.settle(client, "a", "c") // rather than nobody
	if n := a.opened.Load(); n != 1 {
		t.Errorf("%d connections to an instance that only changed, want 1", n)
	}
	f.start("orders", "d", "127.0.0.1:0")
	f.settle(client, "d")
	if err := a.registration.Close(); err != nil {
		t.Fatal(err)
	}
	f.settle(client, "d")
	if _, ok := a.wanted.Load("[orders]"); !ok {
		t.Error("the calls do not name their service")
	}
}

// TestDiscoveryErrors names the service and the cause.
func TestDiscoveryErrors(t *testing.T) {
	f := newFleet(t)
	f.start("orders", "a", "127.0.0.1:0")
	empty := f.start("empty", "a", "127.0.0.1:0")
	leaving := f.dial("os:///empty", osgrpc.DiscoveryOptions{})
	f.settle(leaving, "a")
	if err := empty.registration.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the goodbye", func() bool { _, err := call(t.Context(), leaving); return err != nil })
	none := osgrpc.DiscoveryOptions{}
	tests := []struct {
		target string
		opts   osgrpc.DiscoveryOptions
		want   string
	}{
		{"os:///unknown", none, `discovery: lookup "unknown": not found: no instance has been registered`},
		{"os:///empty", none, `discovery: lookup "empty": unavailable: all instances have deregistered`},
		{"os:///orders", osgrpc.DiscoveryOptions{Protocol: "http"}, `discovery: lookup "orders": unavailable: none of the 1 instances has an address of the protocol "http" and passes the filters`},
		{"os:///orders", osgrpc.DiscoveryOptions{Filters: []discovery.Filter{discovery.InZone("z")}}, `none of the 1 instances`},
		{"os://orders", none, `osgrpc: target "os://orders": use "os:///<service>"`},
		{"os:orders", none, `osgrpc: target "os:orders": use "os:///<service>"`},
		{"os:///", none, `osgrpc: target "os:///": use "os:///<service>"`},
		{"os:///a/b", none, `osgrpc: target "os:///a/b": use "os:///<service>"`},
		{"os:///orders?zone=a", none, `osgrpc: target "os:///orders?zone=a": use "os:///<service>"`},
		{"os:///or%20ders", none, `"or ders": invalid: service "or ders": use only letters`},
	}
	for _, tt := range tests {
		_, err := call(t.Context(), f.dial(tt.target, tt.opts))
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want UNAVAILABLE and %s", tt.target, err, tt.want)
		}
	}
	if _, err := call(t.Context(), f.dial("os:///a/b", none), grpc.WaitForReady(true)); status.Code(err) != codes.Unavailable {
		t.Errorf("a bad target and wait for ready: %v, want UNAVAILABLE", err)
	}
	f.resolver = nil
	if _, err := call(t.Context(), f.dial("os:///orders", none)); !strings.Contains(fmt.Sprint(err), "the discovery.Resolver of WithDiscovery is nil") {
		t.Errorf("without a resolver: %v", err)
	}
}

// TestRecovery has calls succeed once there is an instance. Those that wait for ready wait for it.
func TestRecovery(t *testing.T) {
	f := newFleet(t)
	client := f.dial("os:///orders", osgrpc.DiscoveryOptions{})
	if _, err := call(t.Context(), client); status.Code(err) != codes.Unavailable {
		t.Errorf("%v, want UNAVAILABLE", err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := call(t.Context(), client, grpc.WaitForReady(true))
		answered <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := call(ctx, client, grpc.WaitForReady(true))
	if status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), `"orders": not found`) {
		t.Errorf("%v, want DEADLINE_EXCEEDED and the cause", err)
	}
	n := f.start("orders", "a", "127.0.0.1:0")
	if err := <-answered; err != nil {
		t.Error(err)
	}
	f.settle(client, "a")
	if err := n.registration.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the goodbye", func() bool { _, err := call(t.Context(), client); return err != nil })
	n.register(f, discovery.Instance{Service: "orders", ID: "b", Weight: 1, Addresses: map[string]string{"grpc": n.address}})
	eventually(t, "the return", func() bool { _, err := call(t.Context(), client); return err == nil })
}

// switched is a registry that can be away.
type switched struct {
	driver.Reader
	back    chan struct{} // closed when it answers
	watches atomic.Int64
}

func (s *switched) Watch(ctx context.Context, name string, emit func(driver.Event) error) error {
	s.watches.Add(1)
	if err := emit(driver.Event{Kind: driver.EventLost, Err: errors.New("registry is off")}); err != nil {
		return err
	}
	select {
	case <-s.back:
		return s.Reader.Watch(ctx, name, emit)
	case <-ctx.Done():
		return nil
	}
}

// TestNeverLoaded fails calls with the cause while the registry has not answered yet.
func TestNeverLoaded(t *testing.T) {
	f := newFleet(t)
	f.start("orders", "a", "127.0.0.1:0")
	s := &switched{Reader: f.registry, back: make(chan struct{})}
	f.resolver = f.resolverOn(s)
	client := f.dial("os:///orders", osgrpc.DiscoveryOptions{Timeout: 20 * time.Millisecond})
	for _, wait := range []bool{false, true} {
		_, err := call(t.Context(), client, grpc.WaitForReady(wait))
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), `"orders": unavailable: no answer from memory yet`) || !strings.Contains(err.Error(), "registry is off") {
			t.Errorf("wait for ready %v: %v, want UNAVAILABLE and the cause", wait, err)
		}
	}
	close(s.back)
	eventually(t, "recovery", func() bool { _, err := call(t.Context(), client); return err == nil })
	if n := s.watches.Load(); n != 1 {
		t.Errorf("%d watches: calls that failed have asked the registry", n)
	}
}

// TestClosedResolver keeps the last instances, and returns a clear error to later clients.
func TestClosedResolver(t *testing.T) {
	f := newFleet(t)
	f.start("orders", "a", "127.0.0.1:0")
	client := f.dial("os:///orders", osgrpc.DiscoveryOptions{})
	f.settle(client, "a")
	if err := f.resolver.Close(); err != nil {
		t.Fatal(err)
	}
	f.settle(client, "a")
	if _, err := call(t.Context(), f.dial("os:///orders", osgrpc.DiscoveryOptions{})); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), `"orders": closed`) {
		t.Errorf("%v, want UNAVAILABLE, closed", err)
	}
}

// TestKilledUnderLoad kills one of three instances: no call that can be repeated fails.
func TestKilledUnderLoad(t *testing.T) {
	f := newFleet(t)
	nodes := []*node{f.start("orders", "a", "127.0.0.1:0"), f.start("orders", "b", "127.0.0.1:0"), f.start("orders", "c", "127.0.0.1:0")}
	client := f.dial("os:///orders", osgrpc.DiscoveryOptions{}, grpc.WithDefaultServiceConfig(retries))
	f.settle(client, "a", "b", "c")
	stop := servicetest.Load(8, func() error { _, err := call(t.Context(), client); return err })
	for _, n := range nodes {
		eventually(t, "calls", func() bool { return n.served.Load() > 50 })
	}
	nodes[1].Stop()
	before := nodes[0].served.Load()
	eventually(t, "calls", func() bool { return nodes[0].served.Load() > before+200 })
	if n, failed := stop(); len(failed) > 0 {
		t.Errorf("%d of %d calls failed: %v", len(failed), n, failed[0])
	}
}

// TestDrainedUnderLoad restarts all instances one by one, as a deployment does: no call fails, and none is repeated.
func TestDrainedUnderLoad(t *testing.T) {
	f := newFleet(t)
	nodes := []*node{f.start("orders", "a", "127.0.0.1:0"), f.start("orders", "b", "127.0.0.1:0"), f.start("orders", "c", "127.0.0.1:0")}
	client := f.dial("os:///orders", osgrpc.DiscoveryOptions{})
	f.settle(client, "a", "b", "c")
	stop := servicetest.Load(8, func() error { _, err := call(t.Context(), client); return err })
	for i, n := range nodes {
		if i == len(nodes)-1 {
			last := f.start("orders", "d", "127.0.0.1:0")
			eventually(t, "calls", func() bool { return last.served.Load() > 10 })
		}
		if err := n.registration.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		var served int64
		eventually(t, "the drain", func() bool {
			before := n.served.Load()
			time.Sleep(50 * time.Millisecond)
			served = n.served.Load()
			return served == before
		})
		if err := n.registration.Close(); err != nil {
			t.Fatal(err)
		}
		n.GracefulStop()
	}
	if n, failed := stop(); len(failed) > 0 {
		t.Errorf("%d of %d calls failed: %v", len(failed), n, failed[0])
	}
}

// TestAddressReused starts payments on the port of an instance of orders that died. Its registry still lists it.
func TestAddressReused(t *testing.T) {
	f := newFleet(t)
	ours := func(services ...string) []grpc.ServerOption {
		return osgrpc.ServerOptions(&osgrpc.Options{Telemetry: telemetry.Off(), Services: services})
	}
	a := f.start("orders", "a", "127.0.0.1:0", ours("orders")...)
	f.start("orders", "b", "127.0.0.1:0", ours("orders")...)
	rec := newRecorder()
	traced := osgrpc.DialOptions(&osgrpc.Options{Telemetry: rec.Providers})
	client := f.dial("os:///orders", osgrpc.DiscoveryOptions{Telemetry: rec.Providers}, traced...)
	f.settle(client, "a", "b")
	calls := f.dial("os:///orders", osgrpc.DiscoveryOptions{})
	f.settle(calls, "a", "b")
	stop := servicetest.Load(4, func() error {
		_, err := call(t.Context(), calls, grpc.WaitForReady(true))
		if err != nil && status.Code(err) == codes.Unavailable {
			return nil // calls in flight when the instance died
		}
		return err
	})
	a.Stop()
	payments := f.start("payments", "p", a.address, ours("payments", "refunds")...)
	for range 50 {
		id, err := call(t.Context(), client)
		if status.Code(err) == codes.Unavailable {
			continue // the connection to the dead instance has not ended yet
		}
		if id != "b" || err != nil {
			t.Fatalf("%q, %v", id, err)
		}
	}
	if n, failed := stop(); len(failed) > 0 {
		t.Errorf("%d of %d calls failed: %v", len(failed), n, failed[0])
	}
	f.settle(f.dial("os:///payments", osgrpc.DiscoveryOptions{}), "p")
	if _, ok := payments.wanted.Load("[orders]"); ok {
		t.Error("a handler of payments has got a call of orders")
	}

	plain, err := grpc.NewClient(payments.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close() })
	direct := testpb.NewTestServiceClient(plain)
	if id, err := call(t.Context(), direct); id != "p" || err != nil {
		t.Errorf("a client that names no service: %q, %v", id, err)
	}
	_, err = call(metadata.AppendToOutgoingContext(t.Context(), "goos-service", "orders"), direct)
	if want := `misdirected: this server is not of the service "orders": retry at another one`; status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want FAILED_PRECONDITION, %s", err, want)
	}
}

// TestStreamOfReusedAddress restarts streams at another instance.
func TestStreamOfReusedAddress(t *testing.T) {
	f := newFleet(t)
	f.start("orders", "a", "127.0.0.1:0", osgrpc.ServerOptions(&osgrpc.Options{Telemetry: telemetry.Off(), Services: []string{"payments"}})...)
	f.start("orders", "b", "127.0.0.1:0", osgrpc.ServerOptions(&osgrpc.Options{Telemetry: telemetry.Off(), Services: []string{"orders"}})...)
	for n := range 4 {
		rec := newRecorder()
		traced := osgrpc.DialOptions(&osgrpc.Options{Telemetry: rec.Providers})
		options := append(traced, osgrpc.WithDiscovery(f.resolver, &osgrpc.DiscoveryOptions{Telemetry: rec.Providers})...)
		conn, err := grpc.NewClient("os:///orders", append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		client := testpb.NewTestServiceClient(conn)
		for range 2 { // one of both begins at the wrong instance
			stream, err := client.FullDuplexCall(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: []byte{byte(i)}}}); err != nil {
					t.Fatal(err)
				}
			}
			if n < 3 {
				if err := stream.CloseSend(); err != nil {
					t.Fatal(err)
				}
			}
			for i := range n {
				if r, err := stream.Recv(); err != nil || r.GetPayload().GetBody()[0] != byte(i) {
					t.Fatalf("message %d: %v, %v", i, r, err)
				}
			}
			if n == 3 {
				if err := stream.CloseSend(); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := stream.Recv(); err != io.EOF {
				t.Errorf("%v, want EOF", err)
			}
		}
		eventually(t, "the spans to end", func() bool { return len(rec.spans.Ended()) == 2 })
		for _, span := range rec.spans.Ended() {
			if got := attrs(span.Attributes()); got["rpc.response.status_code"] != "OK" || got["server.address"] != "orders" {
				t.Errorf("span: %v, want OK and the service", got)
			}
		}
		if got := rec.records(); len(got) > 1 {
			t.Errorf("%d events, want at most one", len(got))
		}
	}
}

// TestAllMisdirected returns the refusal if no other instance is left.
func TestAllMisdirected(t *testing.T) {
	f := newFleet(t)
	for _, id := range []string{"a", "b", "c"} {
		f.start("orders", id, "127.0.0.1:0", osgrpc.ServerOptions(&osgrpc.Options{Telemetry: telemetry.Off(), Services: []string{"payments"}})...)
	}
	client := f.dial("os:///orders", osgrpc.DiscoveryOptions{})
	for range 3 {
		if _, err := call(t.Context(), client); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("%v, want FAILED_PRECONDITION", err)
		}
		stream, err := client.FullDuplexCall(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("%v, want FAILED_PRECONDITION", err)
		}
	}
}

// TestReports ends the hold of a dead instance by failed connections.
func TestReports(t *testing.T) {
	f := newFleet(t)
	n := f.start("orders", "a", "127.0.0.1:0")
	client := f.dial("os:///orders", osgrpc.DiscoveryOptions{}, grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
	f.settle(client, "a")
	n.Stop()
	other, err := discovery.NewRegistrar(f.registry, &discovery.RegistrarOptions{Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	_ = other.Close()
	static := &fading{gone: make(chan struct{}), address: n.address}
	f.resolver = f.resolverOn(static)
	client = f.dial("os:///orders", osgrpc.DiscoveryOptions{}, grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
	_, _ = call(t.Context(), client)
	close(static.gone)
	eventually(t, "the hold to end", func() bool {
		_, err := call(t.Context(), client)
		return strings.Contains(fmt.Sprint(err), "all instances have deregistered")
	})
}

// fading is a registry that loses its only record.
type fading struct {
	gone    chan struct{}
	address string
}

func (*fading) System() string { return "test" }
func (*fading) Close() error   { return nil }
func (s *fading) Watch(ctx context.Context, name string, emit func(driver.Event) error) error {
	record := driver.Record{Instance: driver.Instance{Service: name, ID: "a", Weight: 1, Addresses: map[string]string{"grpc": s.address}}, Incarnation: "1", Epoch: 1}
	for _, e := range []driver.Event{{Kind: driver.EventResync}, {Kind: driver.EventPut, Record: record}, {Kind: driver.EventSynced}} {
		if err := emit(e); err != nil {
			return err
		}
	}
	select {
	case <-s.gone:
		if err := emit(driver.Event{Kind: driver.EventDelete, Record: record}); err != nil {
			return err
		}
	case <-ctx.Done():
	}
	<-ctx.Done()
	return nil
}

// TestDiscoveryTLS verifies the name of the service.
func TestDiscoveryTLS(t *testing.T) {
	server := httptest.NewTLSServer(nil) // for its certificate, which is for example.com
	t.Cleanup(server.Close)
	f := newFleet(t)
	n := f.start("example.com", "a", "127.0.0.1:0", grpc.Creds(credentials.NewServerTLSFromCert(&server.TLS.Certificates[0])))
	n.register(f, discovery.Instance{Service: "orders", ID: "a", Weight: 1, Addresses: map[string]string{"grpc": n.address}})
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	trust := grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots}))
	if _, err := call(t.Context(), f.dial("os:///example.com", osgrpc.DiscoveryOptions{}, trust)); err != nil {
		t.Error(err)
	}
	if _, err := call(t.Context(), f.dial("os:///orders", osgrpc.DiscoveryOptions{}, trust)); err == nil || !strings.Contains(err.Error(), "not orders") {
		t.Errorf("%v, want that the certificate is for another name", err)
	}
}

// capturing is a ClientConn that records what a resolver reports.
type capturing struct {
	resolver.ClientConn
	states chan resolver.State
}

func (o *capturing) UpdateState(s resolver.State) error {
	o.states <- s
	return nil
}
func (*capturing) ReportError(error) {}
func (*capturing) ParseServiceConfig(string) *serviceconfig.ParseResult {
	return nil
}

// target returns the target os:///name.
func target(name string) resolver.Target {
	return resolver.Target{URL: url.URL{Scheme: "os", Path: "/" + name}}
}

// TestInstanceOf passes the instance to balancers, but not in the address.
func TestInstanceOf(t *testing.T) {
	want := discovery.Instance{
		Service: "orders", ID: "a", Version: "1.2", Zone: "z", Weight: 7, Labels: map[string]string{"k": "v"},
		Addresses: map[string]string{"grpc": "10.0.0.1:1"},
	}
	twin := want
	twin.ID = "b" // at a reused address
	registry, err := discovery.Static(want, twin)
	if err != nil {
		t.Fatal(err)
	}
	f := newFleet(t)
	builder := osgrpc.Builder(f.resolverOn(registry), &osgrpc.DiscoveryOptions{Telemetry: telemetry.Off()})
	cc := &capturing{states: make(chan resolver.State, 10)}
	r, err := builder.Build(target("orders"), cc, resolver.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	state := <-cc.states
	bare := []resolver.Address{{Addr: "10.0.0.1:1"}}
	if len(state.Endpoints) != 1 || !reflect.DeepEqual(state.Endpoints[0].Addresses, bare) || !reflect.DeepEqual(state.Addresses, bare) {
		t.Fatalf("state %v, want one endpoint whose address has no attributes", state)
	}
	got, ok := osgrpc.InstanceOf(state.Endpoints[0].Attributes)
	if !ok || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	if _, ok := osgrpc.InstanceOf(nil); ok {
		t.Error("an endpoint without attributes has an instance")
	}
}

// TestDiscoveryEnds ends all goroutines with the ClientConns, also if the options are made for each call.
func TestDiscoveryEnds(t *testing.T) {
	f := newFleet(t)
	f.start("orders", "a", "127.0.0.1:0")
	options := osgrpc.WithDiscovery(f.resolver, &osgrpc.DiscoveryOptions{Telemetry: telemetry.Off()})
	dial := func(options []grpc.DialOption) {
		conn, err := grpc.NewClient("os:///orders", append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := call(t.Context(), testpb.NewTestServiceClient(conn)); err != nil {
			t.Error(err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	dial(options)
	before := 0
	eventually(t, "rest", func() bool {
		n := runtime.NumGoroutine()
		calm := n == before
		before = n
		return calm
	})
	for range 20 {
		dial(options)
		dial(osgrpc.WithDiscovery(f.resolver, &osgrpc.DiscoveryOptions{Telemetry: telemetry.Off()}))
	}
	eventually(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before+2 })
}
