package osgrpc_test

import (
	"context"
	"net"
	"slices"
	"strconv"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/rpcconv"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/middleware/osgrpc"
)

const unaryMethod = "grpc.testing.TestService/UnaryCall"

// instrument is implemented by the typed instruments of the conventions.
type instrument interface {
	Name() string
	Unit() string
	Description() string
}

// point asserts the instrument against the conventions and returns its only point.
func (r *recorder) point(t *testing.T, want instrument) metricdata.HistogramDataPoint[float64] {
	t.Helper()
	m, points := r.histogram(t, want.Name())
	if len(points) != 1 {
		t.Fatalf("%s has %d points, want 1", want.Name(), len(points))
	}
	if m.Unit != want.Unit() || m.Description != want.Description() {
		t.Errorf("%s has unit %q and description %q, want %q and %q", m.Name, m.Unit, m.Description, want.Unit(), want.Description())
	}
	bounds := []float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}
	if !slices.Equal(points[0].Bounds, bounds) {
		t.Errorf("%s has bounds %v, want %v", m.Name, points[0].Bounds, bounds)
	}
	return points[0]
}

func TestUnaryCallFollowsTheConventions(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(tcp.Addr().(*net.TCPAddr).Port)
	server, client := newRecorder(), newRecorder()
	pair := connect(t, &service{}, setup{
		server:   &osgrpc.Options{Telemetry: server.Providers},
		client:   &osgrpc.Options{Telemetry: client.Providers},
		listener: tcp, target: "dns:///127.0.0.1:" + port,
	})
	if _, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}

	serverSpan, clientSpan := server.span(t), client.span(t)
	for _, span := range []struct {
		trace.SpanKind
		got interface {
			Name() string
			SpanKind() trace.SpanKind
		}
	}{{trace.SpanKindServer, serverSpan}, {trace.SpanKindClient, clientSpan}} {
		if span.got.Name() != unaryMethod || span.got.SpanKind() != span.SpanKind {
			t.Errorf("span is %q of kind %v, want %q of kind %v", span.got.Name(), span.got.SpanKind(), unaryMethod, span.SpanKind)
		}
	}
	if got, want := serverSpan.Parent().SpanID(), clientSpan.SpanContext().SpanID(); got != want {
		t.Errorf("the server's span has parent %s, want the client's span %s", got, want)
	}
	common := map[attribute.Key]string{
		semconv.RPCSystemNameKey:         string(rpcconv.SystemNameGRPC),
		semconv.RPCMethodKey:             unaryMethod,
		semconv.RPCResponseStatusCodeKey: "OK",
	}
	with := func(more map[attribute.Key]string) map[attribute.Key]string {
		all := map[attribute.Key]string{}
		for _, m := range []map[attribute.Key]string{common, more} {
			for k, v := range m {
				all[k] = v
			}
		}
		return all
	}
	peerPort := attrs(serverSpan.Attributes())[semconv.NetworkPeerPortKey]
	if n, err := strconv.Atoi(peerPort); err != nil || n == 0 || peerPort == port {
		t.Errorf("network.peer.port of the server is %q, want the client's port", peerPort)
	}
	wantAttrs(t, "server span", serverSpan.Attributes(), with(map[attribute.Key]string{
		semconv.ServerAddressKey: "127.0.0.1", semconv.ServerPortKey: port, semconv.NetworkTransportKey: "tcp",
		semconv.NetworkPeerAddressKey: "127.0.0.1", semconv.NetworkPeerPortKey: peerPort,
	}))
	wantAttrs(t, "client span", clientSpan.Attributes(), with(map[attribute.Key]string{
		semconv.ServerAddressKey: "127.0.0.1", semconv.ServerPortKey: port, semconv.NetworkTransportKey: "tcp",
		semconv.NetworkPeerAddressKey: "127.0.0.1", semconv.NetworkPeerPortKey: port,
	}))
	sp, cp := server.point(t, rpcconv.ServerCallDuration{}), client.point(t, rpcconv.ClientCallDuration{})
	wantAttrs(t, "server point", sp.Attributes.ToSlice(), common)
	wantAttrs(t, "client point", cp.Attributes.ToSlice(), with(map[attribute.Key]string{
		semconv.ServerAddressKey: "127.0.0.1", semconv.ServerPortKey: port,
	}))
	if len(sp.Exemplars) != 1 || trace.SpanID(sp.Exemplars[0].SpanID) != serverSpan.SpanContext().SpanID() {
		t.Errorf("exemplars of the server's point are %v, want the server's span", sp.Exemplars)
	}
}

func TestUnixSocketHasNoPort(t *testing.T) {
	const path = "orders.sock" // relative, as gRPC allows
	t.Chdir(t.TempDir())
	unix, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server, client := newRecorder(), newRecorder()
	pair := connect(t, &service{}, setup{
		server:   &osgrpc.Options{Telemetry: server.Providers},
		client:   &osgrpc.Options{Telemetry: client.Providers},
		listener: unix, target: "unix:" + path,
	})
	if _, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	common := map[attribute.Key]string{
		semconv.RPCSystemNameKey: "grpc", semconv.RPCMethodKey: unaryMethod, semconv.RPCResponseStatusCodeKey: "OK",
		semconv.NetworkTransportKey: "unix", semconv.ServerAddressKey: path,
	}
	wantAttrs(t, "server span", server.span(t).Attributes(), common)
	common[semconv.NetworkPeerAddressKey] = path
	wantAttrs(t, "client span", client.span(t).Attributes(), common)
}

// TestEveryCode checks the name of each status code, and which side it blames. The names are those of the
// gRPC specification.
func TestEveryCode(t *testing.T) {
	tests := []struct {
		code   codes.Code
		name   string
		server bool // the server counts it as an error
	}{
		{codes.OK, "OK", false}, {codes.Canceled, "CANCELLED", false}, {codes.Unknown, "UNKNOWN", true},
		{codes.InvalidArgument, "INVALID_ARGUMENT", false}, {codes.DeadlineExceeded, "DEADLINE_EXCEEDED", true},
		{codes.NotFound, "NOT_FOUND", false}, {codes.AlreadyExists, "ALREADY_EXISTS", false},
		{codes.PermissionDenied, "PERMISSION_DENIED", false}, {codes.ResourceExhausted, "RESOURCE_EXHAUSTED", false},
		{codes.FailedPrecondition, "FAILED_PRECONDITION", false}, {codes.Aborted, "ABORTED", false},
		{codes.OutOfRange, "OUT_OF_RANGE", false}, {codes.Unimplemented, "UNIMPLEMENTED", true},
		{codes.Internal, "INTERNAL", true}, {codes.Unavailable, "UNAVAILABLE", true}, {codes.DataLoss, "DATA_LOSS", true},
		{codes.Unauthenticated, "UNAUTHENTICATED", false},
		{codes.Code(4242), "UNKNOWN", true}, // a peer can send any number
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server, client := newRecorder(), newRecorder()
			svc := &service{unary: func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
				return &testpb.SimpleResponse{}, status.Error(test.code, "because")
			}}
			pair := connect(t, svc, setup{
				server: &osgrpc.Options{Telemetry: server.Providers}, client: &osgrpc.Options{Telemetry: client.Providers},
			})
			_, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{})
			if got := status.Code(err); got != test.code {
				t.Fatalf("the client got %v, want %v", got, test.code)
			}
			check := func(r *recorder, failed bool, conv instrument) {
				t.Helper()
				errorType, want := "", otelcodes.Unset
				if failed {
					errorType, want = test.name, otelcodes.Error
				}
				span := r.span(t)
				if span.Status().Code != want || (failed && span.Status().Description != "because") {
					t.Errorf("%s: the span's status is %v, want %v", conv.Name(), span.Status(), want)
				}
				point := r.point(t, conv).Attributes
				for what, got := range map[string]map[attribute.Key]string{
					"span": attrs(span.Attributes()), "point": attrs(point.ToSlice()),
				} {
					if got[semconv.RPCResponseStatusCodeKey] != test.name || got[semconv.ErrorTypeKey] != errorType {
						t.Errorf("%s: the %s has %v, want code %s and error.type %q", conv.Name(), what, got, test.name, errorType)
					}
				}
			}
			check(server, test.server, rpcconv.ServerCallDuration{})
			check(client, test.code != codes.OK, rpcconv.ClientCallDuration{})
		})
	}
}

// TestContextErrorsOfHandlers checks the code that gRPC gives a context error that a handler returns
// unwrapped.
func TestContextErrorsOfHandlers(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"cancelled": {context.Canceled, "CANCELLED"},
		"timed out": {context.DeadlineExceeded, "DEADLINE_EXCEEDED"},
		"other":     {net.ErrClosed, "UNKNOWN"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecorder()
			svc := &service{unary: func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) { return nil, test.err }}
			pair := connect(t, svc, setup{server: &osgrpc.Options{Telemetry: r.Providers}})
			if _, err := pair.UnaryCall(t.Context(), &testpb.SimpleRequest{}); err == nil {
				t.Fatal("the call succeeded")
			}
			if got := attrs(r.span(t).Attributes())[semconv.RPCResponseStatusCodeKey]; got != test.want {
				t.Errorf("rpc.response.status_code = %q, want %q", got, test.want)
			}
		})
	}
}
