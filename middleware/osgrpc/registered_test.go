package osgrpc_test

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/go-os/go-os/middleware/osgrpc"
)

// A service may be registered without an implementation, if its handlers need none. Its methods are registered all the same.
func TestServiceWithoutImplementation(t *testing.T) {
	drain := func(_ any, stream grpc.ServerStream) error {
		for stream.RecvMsg(new(testpb.Empty)) == nil { // to the end
		}
		return stream.SendMsg(new(testpb.Empty))
	}
	desc := &grpc.ServiceDesc{
		ServiceName: "test.Bare", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: func(srv any, ctx context.Context, decode func(any) error, chain grpc.UnaryServerInterceptor) (any, error) {
			req := new(testpb.Empty)
			if err := decode(req); err != nil {
				return nil, err
			}
			return chain(ctx, req, &grpc.UnaryServerInfo{Server: srv, FullMethod: "/test.Bare/Unary"},
				func(context.Context, any) (any, error) { return req, nil })
		}}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Down", ServerStreams: true, Handler: drain},
			{StreamName: "Up", ClientStreams: true, Handler: drain},
			{StreamName: "Both", ClientStreams: true, ServerStreams: true, Handler: drain},
		},
	}
	for method, want := range map[string]string{
		"Unary": "test.Bare/Unary", "Down": "test.Bare/Down", "Up": "test.Bare/Up",
		"Both":    "grpc", // an interceptor cannot tell it from an unregistered method
		"Unknown": "grpc",
	} {
		server := newRecorder()
		pair := connectWith(t, desc, &osgrpc.Options{Telemetry: server.Providers})
		_ = pair.Invoke(t.Context(), "/test.Bare/"+method, new(testpb.Empty), new(testpb.Empty))
		if got := server.span(t).Name(); got != want {
			t.Errorf("the span of %s is %q, want %q", method, got, want)
		}
	}
}

// connectWith returns a client of a server that has an additional service, without an implementation.
func connectWith(t *testing.T, desc *grpc.ServiceDesc, opts *osgrpc.Options) *grpc.ClientConn {
	t.Helper()
	return connect(t, &service{}, setup{server: opts, register: func(s *grpc.Server) { s.RegisterService(desc, nil) }}).conn
}
