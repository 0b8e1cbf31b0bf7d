package main

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/middleware/osgrpc"
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
