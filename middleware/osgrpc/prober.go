package osgrpc

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/go-os/go-os/control/router"
)

var (
	_ router.Prober = (*service)(nil)

	errNoConnection = errors.New("no connection is ready")
	errNoReport     = errors.New("the answer has no valid " + inFlightKey)
)

// Probe implements router.Prober, by a ProbeMethod call on a connection that calls use. It passes no interceptor and no stats handler of the
// client, so it leaves no trace.
func (s *service) Probe(ctx context.Context, e *router.Endpoint) (router.Load, error) {
	var trailer metadata.MD
	err := s.invoke(ctx, e, ProbeMethod, new(emptypb.Empty), new(emptypb.Empty), grpc.Trailer(&trailer))
	switch {
	case status.Code(err) == codes.Unimplemented:
		return router.Load{}, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	case err != nil:
		return router.Load{}, fmt.Errorf("osgrpc: probe %q: %w", e.Address(), err)
	}
	r, ok := reportIn(trailer)
	if !ok {
		return router.Load{}, fmt.Errorf("osgrpc: probe %q: %w", e.Address(), errNoReport)
	}
	return router.Load{Known: true, InFlight: r.InFlight, Latency: r.Latency}, nil
}

// invoke makes a call on the connection to an endpoint.
func (s *service) invoke(ctx context.Context, e *router.Endpoint, method string, req, reply any, opts ...grpc.CallOption) error {
	picker := s.connection(e)
	if picker == nil {
		return errNoConnection
	}
	picked, err := picker.Pick(balancer.PickInfo{FullMethodName: method, Ctx: ctx})
	if err != nil {
		return err
	}
	producer, release := picked.SubConn.GetOrBuildProducer(onConnection{})
	defer release()
	return producer.(grpc.ClientConnInterface).Invoke(naming(ctx, s.name), method, req, reply, opts...)
}

// onConnection builds the producer through which gRPC makes calls on one connection. It implements balancer.ProducerBuilder.
type onConnection struct{}

// Build implements balancer.ProducerBuilder.
func (onConnection) Build(conn any) (producer balancer.Producer, stop func()) {
	return conn, func() {}
}
