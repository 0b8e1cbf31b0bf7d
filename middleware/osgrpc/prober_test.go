package osgrpc_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/telemetry"
)

// TestProbe asks each instance on the connection of its calls, without a trace.
func TestProbe(t *testing.T) {
	f := newFleet(t)
	rec := newRecorder()
	reporting := osgrpc.ServerOptions(&osgrpc.Options{Telemetry: telemetry.Off(), ReportLoad: osgrpc.NewLoad(), Services: []string{"orders"}})
	instances := map[string]*node{
		"a": f.start("orders", "a", "127.0.0.1:0", reporting...),
		"b": f.start("orders", "b", "127.0.0.1:0", osgrpc.ServerOptions(&osgrpc.Options{Telemetry: telemetry.Off()})...),
	}
	r := f.router(router.Policy{})
	prober, options := osgrpc.Prober(f.resolver, &osgrpc.DiscoveryOptions{Router: r, Telemetry: telemetry.Off()}, "orders")
	observed := 0
	count := grpc.WithChainUnaryInterceptor(func(ctx context.Context, m string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		observed++
		return invoke(ctx, m, req, reply, cc, opts...)
	})
	conn := dialWith(t, "os:///orders", append(append(osgrpc.DialOptions(&osgrpc.Options{Telemetry: rec.Providers}), options...), count)...)
	endpoint := func(id string) *router.Endpoint {
		return r.Service("orders", "grpc").Endpoint(id, instances[id].address)
	}

	if _, err := prober.Probe(t.Context(), new(router.Endpoint)); err == nil {
		t.Error("an endpoint without a connection has answered a probe")
	}
	f.reach(testpb.NewTestServiceClient(conn), "a", "b")
	calls, spans := observed, len(rec.spans.Ended())
	eventually(t, "connections", func() bool {
		_, err := prober.Probe(t.Context(), endpoint("a"))
		return err == nil
	})
	load, err := prober.Probe(t.Context(), endpoint("a"))
	if err != nil || !load.Known || load.InFlight != 0 || load.Latency <= 0 {
		t.Errorf("%+v, %v; want no call in flight and a latency", load, err)
	}
	if _, err := prober.Probe(t.Context(), endpoint("b")); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a server without ReportLoad: %v, want ErrUnsupported", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, err := prober.Probe(ctx, endpoint("a")); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("%v, want DEADLINE_EXCEEDED", err)
	}
	if n := len(rec.spans.Ended()); n != spans || observed != calls {
		t.Errorf("%d spans and %d intercepted calls for probes, want none", n-spans, observed-calls)
	}
	if n := instances["a"].opened.Load(); n != 1 {
		t.Errorf("%d connections, want probes on the one of the calls", n)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := prober.Probe(t.Context(), endpoint("a")); err == nil {
		t.Error("a probe after Close has succeeded")
	}
}
