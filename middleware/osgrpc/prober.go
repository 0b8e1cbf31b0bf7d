package osgrpc

import (
	"context"
	"errors"
	"fmt"
	"io"

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
	trailer, err := s.ask(ctx, e)
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

// ask makes the call of a probe, and returns its trailer. A stream is used, since only a stream of a single connection has one.
func (s *service) ask(ctx context.Context, e *router.Endpoint) (metadata.MD, error) {
	picker := s.connection(e)
	if picker == nil {
		return nil, errNoConnection
	}
	picked, err := picker.Pick(balancer.PickInfo{FullMethodName: ProbeMethod, Ctx: ctx})
	if err != nil {
		return nil, err
	}
	producer, release := picked.SubConn.GetOrBuildProducer(onConnection{})
	defer release()
	ctx, cancel := context.WithCancel(sending(ctx, s.name))
	defer cancel()
	stream, err := producer.(grpc.ClientConnInterface).NewStream(ctx, &grpc.StreamDesc{}, ProbeMethod)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(new(emptypb.Empty)); err != nil && err != io.EOF {
		return nil, err
	}
	if err := stream.RecvMsg(new(emptypb.Empty)); err != nil {
		return nil, err
	}
	return stream.Trailer(), nil
}

// onConnection builds the producer through which gRPC makes calls on one connection. It implements balancer.ProducerBuilder.
type onConnection struct{}

// Build implements balancer.ProducerBuilder.
func (onConnection) Build(conn any) (producer balancer.Producer, stop func()) {
	return conn, func() {}
}
