package main

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/telemetry"
)

// runGRPC makes calls over loopback: answered, failed, panicking, and to an unknown method.
func runGRPC(ctx context.Context, r *record) error {
	opts := &osgrpc.Options{Telemetry: r.providers(), Filter: osgrpc.Everything}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer(osgrpc.ServerOptions(opts)...)
	healthgrpc.RegisterHealthServer(server, health{})
	go func() { _ = server.Serve(listener) }()
	defer server.GracefulStop()

	conn, err := grpc.NewClient(listener.Addr().String(),
		append(osgrpc.DialOptions(opts), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	client := healthgrpc.NewHealthClient(conn)
	for _, what := range []string{"answer", "fail", "panic"} {
		_, _ = client.Check(ctx, &healthgrpc.HealthCheckRequest{Service: what})
	}
	_ = conn.Invoke(ctx, "/example.Shop/Unknown", &healthgrpc.HealthCheckRequest{}, &healthgrpc.HealthCheckResponse{})
	return callReused(ctx, opts)
}

// callReused calls a service whose only instance is another service by now.
func callReused(ctx context.Context, opts *osgrpc.Options) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	payments := *opts
	payments.Services = []string{"payments"}
	server := grpc.NewServer(osgrpc.ServerOptions(&payments)...)
	healthgrpc.RegisterHealthServer(server, health{})
	go func() { _ = server.Serve(listener) }()
	defer server.GracefulStop()
	registry, err := discovery.Static(discovery.Instance{
		Service: "orders", ID: "a", Weight: 1, Addresses: map[string]string{"grpc": listener.Addr().String()},
	})
	if err != nil {
		return err
	}
	resolver, err := discovery.NewResolver(registry, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		return err
	}
	defer func() { _ = resolver.Close() }()
	options := append(osgrpc.DialOptions(opts), osgrpc.WithDiscovery(resolver, &osgrpc.DiscoveryOptions{Telemetry: opts.Telemetry})...)
	conn, err := grpc.NewClient("os:///orders", append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, _ = healthgrpc.NewHealthClient(conn).Check(ctx, &healthgrpc.HealthCheckRequest{})
	return nil
}

// health answers, fails or panics as the request asks.
type health struct {
	healthgrpc.UnimplementedHealthServer
}

func (health) Check(_ context.Context, req *healthgrpc.HealthCheckRequest) (*healthgrpc.HealthCheckResponse, error) {
	switch req.GetService() {
	case "fail":
		return nil, status.Error(codes.Unavailable, errDemo.Error())
	case "panic":
		panic("bug")
	}
	return &healthgrpc.HealthCheckResponse{Status: healthgrpc.HealthCheckResponse_SERVING}, nil
}
