package osgrpc_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/middleware/osgrpc"
)

func invoke(t *testing.T, pair peerPair, method string, opts ...grpc.CallOption) codes.Code {
	t.Helper()
	return status.Code(pair.conn.Invoke(t.Context(), method, &testpb.Empty{}, &testpb.Empty{}, opts...))
}

// TestUnknownMethodsMakeNoSeries calls 10,000 unknown methods.
func TestUnknownMethodsMakeNoSeries(t *testing.T) {
	server := newRecorder()
	pair := connect(t, &service{}, setup{server: &osgrpc.Options{Telemetry: server.Providers}})
	for n := range 10_000 {
		method := fmt.Sprintf("/attack.Service%d/Method", n)
		if n%2 == 0 {
			method = fmt.Sprintf("/grpc.testing.TestService/Method%d", n) // of a service that exists
		}
		if got := invoke(t, pair, method); got != codes.Unimplemented {
			t.Fatalf("%s: %v, want Unimplemented", method, got)
		}
	}
	pair.server.GracefulStop()
	_, points := server.histogram(t, "rpc.server.call.duration")
	if len(points) != 1 || points[0].Count != 10_000 {
		t.Fatalf("%d series, want one of 10,000 calls", len(points))
	}
	got := attrs(points[0].Attributes.ToSlice())
	if got[semconv.RPCMethodKey] != "_OTHER" || got[semconv.ErrorTypeKey] != "UNIMPLEMENTED" {
		t.Errorf("the series is %v, want rpc.method _OTHER and error.type UNIMPLEMENTED", got)
	}
	if _, ok := got[semconv.RPCMethodOriginalKey]; ok {
		t.Error("the series has rpc.method_original")
	}
	span := server.spans.Ended()[0]
	on := attrs(span.Attributes())
	if span.Name() != "grpc" || on[semconv.RPCMethodKey] != "_OTHER" || on[semconv.RPCMethodOriginalKey] != "grpc.testing.TestService/Method0" {
		t.Errorf("the span is %q with %v, want grpc with the method _OTHER and the original one", span.Name(), on)
	}
}

// TestForeignNamesAreBounded covers names as long as a header. OTLP refuses a batch for one byte that is not UTF-8.
func TestForeignNamesAreBounded(t *testing.T) {
	server := newRecorder()
	pair := connect(t, &service{}, setup{server: &osgrpc.Options{Telemetry: server.Providers}})
	if got := invoke(t, pair, "/attack.\xff/"+strings.Repeat("M", 5000)); got != codes.Unimplemented {
		t.Fatalf("%v, want Unimplemented", got)
	}
	original := attrs(server.span(t).Attributes())[semconv.RPCMethodOriginalKey]
	if !strings.HasPrefix(original, "attack.\uFFFD/MMM") || len(original) > 256 || !utf8.ValidString(original) {
		t.Errorf("rpc.method_original is %d bytes: %q", len(original), original)
	}
}

// TestOwnUnknownServiceHandlerWins checks that a proxy keeps its handler, and that its callers cannot name its methods
// either.
func TestOwnUnknownServiceHandlerWins(t *testing.T) {
	server := newRecorder()
	pair := connect(t, &service{}, setup{
		server: &osgrpc.Options{Telemetry: server.Providers},
		serverOptions: []grpc.ServerOption{grpc.UnknownServiceHandler(func(_ any, ss grpc.ServerStream) error {
			return ss.SendMsg(&testpb.Empty{})
		})},
	})
	if got := invoke(t, pair, "/proxied.Service/Method"); got != codes.OK {
		t.Fatalf("the call ended with %v, want OK", got)
	}
	on := attrs(server.span(t).Attributes())
	if on[semconv.RPCMethodKey] != "_OTHER" || on[semconv.RPCMethodOriginalKey] != "proxied.Service/Method" {
		t.Errorf("the span has %v, want _OTHER and the original method", on)
	}
}

// TestMethodsOfAClientAreBounded covers method names from outside, as a proxy forwards them. Generated code is not
// affected.
func TestMethodsOfAClientAreBounded(t *testing.T) {
	const bound = 500
	client := newRecorder()
	pair := connect(t, &service{}, setup{client: &osgrpc.Options{Telemetry: client.Providers}})
	for n := range 2 * bound {
		invoke(t, pair, fmt.Sprintf("/proxied.Service/Method%d", n))
	}
	if got := invoke(t, pair, "/"+unaryMethod, grpc.StaticMethod()); got != codes.OK {
		t.Fatal(got)
	}
	_, points := client.histogram(t, "rpc.client.call.duration")
	calls := map[string]uint64{}
	for _, p := range points {
		method, _ := p.Attributes.Value(semconv.RPCMethodKey)
		calls[method.AsString()] += p.Count
	}
	if len(calls) != bound+2 || calls["_OTHER"] != bound || calls[unaryMethod] != 1 {
		t.Errorf("%d methods, %d calls of _OTHER and %d of %s; want %d, %d and 1",
			len(calls), calls["_OTHER"], calls[unaryMethod], unaryMethod, bound+2, bound)
	}
	for _, span := range client.spans.Ended() {
		on := attrs(span.Attributes())
		if original, ok := on[semconv.RPCMethodOriginalKey]; ok != (span.Name() == "grpc") || ok && original == "" {
			t.Fatalf("span %q has rpc.method_original %q", span.Name(), original)
		}
	}
}
