package bench

import (
	"context"
	"net"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/telemetry"
)

// GRPC are the cases of one unary call to a server over an in-memory connection. Only the server is instrumented.
var GRPC = []Case{
	{"bare server", grpcCase(func() []grpc.ServerOption { return nil })},
	{"osgrpc, providers off", osgrpcCase(telemetry.Off)},
	{"osgrpc, unsampled", osgrpcCase(unsampled)},
	{"osgrpc, sampled", osgrpcCase(sampled)},
	{"otelgrpc, unsampled", otelgrpcCase(unsampled)},
	{"otelgrpc, sampled", otelgrpcCase(sampled)},
}

func osgrpcCase(providers func() telemetry.Providers) func() (func(), func()) {
	return grpcCase(func() []grpc.ServerOption {
		return osgrpc.ServerOptions(&osgrpc.Options{Telemetry: providers()})
	})
}

func otelgrpcCase(providers func() telemetry.Providers) func() (func(), func()) {
	return grpcCase(func() []grpc.ServerOption {
		p := providers()
		return []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(
			otelgrpc.WithTracerProvider(p.TracerProvider),
			otelgrpc.WithMeterProvider(p.MeterProvider),
			otelgrpc.WithPropagators(p.Propagator),
		))}
	})
}

func grpcCase(options func() []grpc.ServerOption) func() (func(), func()) {
	return func() (func(), func()) {
		listener := bufconn.Listen(1 << 20)
		server := grpc.NewServer(options()...)
		testgrpc.RegisterTestServiceServer(server, service{})
		go func() { _ = server.Serve(listener) }()
		conn, err := grpc.NewClient("passthrough:///bufconn",
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
		if err != nil {
			panic(err) // a constant target
		}
		client := testgrpc.NewTestServiceClient(conn)
		ctx := metadata.AppendToOutgoingContext(context.Background(), "traceparent", parent)
		empty := &testgrpc.Empty{}
		body := func() {
			if _, err := client.EmptyCall(ctx, empty); err != nil {
				panic(err) // these would be the figures of a failing call
			}
		}
		return body, func() { _ = conn.Close(); server.Stop() }
	}
}

type service struct {
	testgrpc.UnimplementedTestServiceServer
}

func (service) EmptyCall(context.Context, *testgrpc.Empty) (*testgrpc.Empty, error) {
	return &testgrpc.Empty{}, nil
}
