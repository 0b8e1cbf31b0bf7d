package main

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
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
	return errors.Join(callReused(ctx, opts), callBySplit(ctx, opts))
}

// callReused calls a service whose only instance is another service by now.
func callReused(ctx context.Context, opts *osgrpc.Options) error {
	payments := *opts
	payments.Services = []string{"payments"}
	return callOrders(ctx, opts, &payments, nil)
}

// callBySplit calls a service with a Router and a split.
func callBySplit(ctx context.Context, opts *osgrpc.Options) error {
	return callOrders(ctx, opts, opts, map[string]router.Policy{"orders": {
		Split: router.Split{Arms: []router.Arm{{Name: "canary", Percent: 100, Labels: map[string]string{"version": "2"}}}},
	}})
}

// callOrders calls the only instance of a service, through a Router if there are policies.
func callOrders(ctx context.Context, client, server *osgrpc.Options, policies map[string]router.Policy) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := grpc.NewServer(osgrpc.ServerOptions(server)...)
	healthgrpc.RegisterHealthServer(s, health{})
	go func() { _ = s.Serve(listener) }()
	defer s.GracefulStop()
	registry, err := discovery.Static(discovery.Instance{
		Service: "orders", ID: "a", Version: "2", Weight: 1, Addresses: map[string]string{"grpc": listener.Addr().String()},
	})
	if err != nil {
		return err
	}
	resolver, err := discovery.NewResolver(registry, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		return err
	}
	defer func() { _ = resolver.Close() }()
	with := &osgrpc.DiscoveryOptions{Telemetry: client.Telemetry}
	if policies != nil {
		if with.Router, err = router.New(resolver, &router.Options{Policies: policies, Telemetry: telemetry.Off()}); err != nil {
			return err
		}
		defer func() { _ = with.Router.Close() }()
	}
	options := append(osgrpc.DialOptions(client), osgrpc.WithDiscovery(resolver, with)...)
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
