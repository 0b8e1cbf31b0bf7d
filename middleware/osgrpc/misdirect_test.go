package osgrpc_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/internal/tooling/servicetest"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/telemetry"
)

// of returns the options of a server that provides these services.
func of(services ...string) []grpc.ServerOption {
	return osgrpc.ServerOptions(&osgrpc.Options{Services: services, Telemetry: telemetry.Off()})
}

// counting returns options that count the calls and streams that arrive, before any other interceptor.
func counting(n *atomic.Int64) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, r any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			n.Add(1)
			return h(ctx, r)
		}),
		grpc.ChainStreamInterceptor(func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			n.Add(1)
			return h(srv, s)
		}),
	}
}

// refusal returns the error of a server that is not of a service.
func refusal(service string) error {
	st, err := status.New(codes.FailedPrecondition, "relayed").WithDetails(
		&errdetails.ErrorInfo{Reason: "OTHER", Domain: "goos"},
		&errdetails.ErrorInfo{Reason: "MISDIRECTED", Domain: "goos", Metadata: map[string]string{"goos-service": service}})
	if err != nil {
		panic(err)
	}
	return st.Err()
}

// marks returns the reasons in the details of an error.
func marks(err error) string {
	var reasons []string
	for _, detail := range status.Convert(err).Details() {
		reasons = append(reasons, detail.(*errdetails.ErrorInfo).GetReason())
	}
	return strings.Join(reasons, " ")
}

// TestRefusedByAll makes a call or a stream at three instances at most, although all twenty refuse it, and hides the mark of the refusal.
func TestRefusedByAll(t *testing.T) {
	f := newFleet(t)
	var arrived atomic.Int64
	for i := range 20 {
		f.start("orders", fmt.Sprint("i", i), "127.0.0.1:0", append(counting(&arrived), of("misspelled")...)...)
	}
	client := f.dial("os:///orders", osgrpc.DiscoveryOptions{})
	for n := range 20 { // also when all refusals are known
		for _, send := range []func() error{
			func() error { _, err := call(t.Context(), client); return err },
			func() error {
				stream, err := client.FullDuplexCall(t.Context())
				if err != nil {
					return err
				}
				_, err = stream.Recv()
				return err
			},
		} {
			arrived.Store(0)
			err := send()
			if got := arrived.Load(); got > 3 || status.Code(err) != codes.FailedPrecondition || marks(err) != "" {
				t.Errorf("call %d was made %d times: %v with the marks %q", n, got, err, marks(err))
			}
		}
	}
}

// TestRelayedRefusal returns the error of a handler's own call from the handler. The client does not repeat a call that a handler has seen.
func TestRelayedRefusal(t *testing.T) {
	f := newFleet(t)
	var handled atomic.Int64
	relay := []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
			handled.Add(1)
			return nil, refusal("orders")
		}),
		grpc.ChainStreamInterceptor(func(any, grpc.ServerStream, *grpc.StreamServerInfo, grpc.StreamHandler) error {
			handled.Add(1)
			return refusal("orders")
		}),
	}
	for n := range 3 {
		f.start("orders", fmt.Sprint("i", n), "127.0.0.1:0", append(of("orders"), relay...)...)
	}
	client := f.dial("os:///orders", osgrpc.DiscoveryOptions{})
	_, err := call(t.Context(), client)
	if got := handled.Load(); got != 1 || status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != "relayed" || marks(err) != "OTHER" {
		t.Errorf("a call was handled %d times: %v with the marks %q", got, err, marks(err))
	}
	handled.Store(0)
	stream, err := client.FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	if got := handled.Load(); got != 1 || status.Code(err) != codes.FailedPrecondition || marks(err) != "OTHER" {
		t.Errorf("a stream was handled %d times: %v with the marks %q", got, err, marks(err))
	}
}

// TestRelayedRefusalOfAnother hides the mark of the refusal of another service, so that a handler on a plain server may return it.
func TestRelayedRefusalOfAnother(t *testing.T) {
	f := newFleet(t)
	relay := grpc.ChainUnaryInterceptor(func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
		return nil, refusal("another")
	})
	f.start("orders", "a", "127.0.0.1:0", relay)
	if _, err := call(t.Context(), f.dial("os:///orders", osgrpc.DiscoveryOptions{})); marks(err) != "OTHER" {
		t.Errorf("%v with the marks %q", err, marks(err))
	}
}

// TestForeignID exports the ID of an instance as short UTF-8, for any ID in the registry.
func TestForeignID(t *testing.T) {
	for _, id := range []string{"i\xff\n", strings.Repeat("i", 1<<20)} {
		f := newFleet(t)
		n := f.start("orders", "a", "127.0.0.1:0", of("payments")...)
		f.resolver = f.resolverOn(servicetest.Foreign{ID: id, Addresses: map[string]string{"grpc": n.address}})
		rec := newRecorder()
		client := f.dial("os:///orders", osgrpc.DiscoveryOptions{Telemetry: rec.Providers})
		if _, err := client.UnaryCall(t.Context(), &testpb.SimpleRequest{}); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("%v, want a refusal", err)
		}
		events := rec.records()
		if len(events) != 1 {
			t.Fatalf("%d events", len(events))
		}
		got := attrs(events[0].Attributes)["goos.discovery.instance"]
		if len(got) == 0 || len(got) > 256 || !utf8.ValidString(got) {
			t.Errorf("an instance of %d bytes, valid %v", len(got), utf8.ValidString(got))
		}
	}
}
