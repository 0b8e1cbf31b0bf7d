package osgrpc

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/semconv/v1.43.0/rpcconv"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/control/router/shed"
	"github.com/go-os/go-os/internal/admission"
	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/internal/serverload"
	"github.com/go-os/go-os/telemetry"
)

// exceptionEvent is the semantic conventions' event for a server that fails to process a call.
const exceptionEvent = "rpc.server.call.exception"

var (
	errPanicked = status.Error(codes.Internal, "the server failed to process the call")
	errBusy     = status.Error(codes.ResourceExhausted, "the server is processing as many calls as it may: try again later")
)

// server is the state that the server's interceptors share.
type server struct {
	observer
	deadlines deadlines
	other     *method
	exception *instrument.Event
	watching  bool // calls leave traces
	public    bool
	exact     bool
	recovers  bool
	logs      bool
	telemetry telemetry.Providers
	services  []string // that this server provides; none means any

	registered sync.Map // full method → *method: the keys of methods, for look-ups that add nothing

	places   *admission.Limit // nil if there is no limit
	load     *serverload.Load // nil if it is not reported
	shedder  Shedder          // nil if there is none
	labels   *router.Allowlist
	refusals admission.Lines
}

func newServer(opts Options) *server {
	s := &server{
		deadlines: newDeadlines(opts),
		other:     newServerMethod(otherMethod),
		exception: instrument.NewEventOrLine(opts.Telemetry, scope, exceptionEvent, log.SeverityError, "panic in gRPC handler"),
		public:    opts.Public,
		recovers:  !opts.NoRecovery,
		logs:      opts.AccessLog,
		telemetry: opts.Telemetry,
		services:  opts.Services,
		places:    admission.NewLimit(opts.MaxConcurrent),
		shedder:   opts.Shedder,
		labels:    opts.Labels,
	}
	s.init(opts, func(m metric.Meter) (metric.Float64Histogram, error) {
		h, err := rpcconv.NewServerCallDuration(m)
		return h.Inst(), err
	})
	if !opts.Public {
		s.load = opts.ReportLoad
	}
	s.watching = s.observing() || s.logs
	return s
}

func newServerMethod(name string) *method { return newMethod(trace.SpanKindServer, serverFault, name) }

// protecting reports whether any protection is on.
func (s *server) protecting() bool {
	return s.recovers || s.public || s.places != nil || s.deadlines != (deadlines{}) || len(s.services) > 0 || s.load != nil || s.shedder != nil || s.labels != nil
}

// method returns the cached data of a registered method.
func (s *server) method(fullMethod string) *method {
	return s.methods.Get(methodKey{name: fullMethod}, func(k methodKey) *method {
		m := newServerMethod(methodName(k.name))
		s.registered.Store(k.name, m)
		return m
	})
}

func (s *server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	c := s.start(ctx, info.FullMethod, true)
	returned := false
	defer func() {
		if !returned {
			var value any
			if s.recovers {
				value = recover()
			}
			err = c.panicked(value)
		}
		c.shedEnd(c.shedOutcome(err))
		c.leaveUnary(err)
		c.end(err)
	}()
	if err := c.refusal(); err != nil {
		returned = true
		return nil, err
	}
	ctx = c.ctx
	if !c.filtered {
		bounded, cancel := s.deadlines.bound(ctx)
		if cancel != nil {
			defer cancel()
			ctx = bounded
		}
	}
	resp, err = handler(ctx, req)
	returned = true
	return resp, unmarked(err)
}

func (s *server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	if s.isProbe(info.FullMethod) {
		return s.probe(ss)
	}
	c := s.start(ss.Context(), info.FullMethod, isRegistered(srv, info))
	returned := false
	defer func() {
		if !returned {
			var value any
			if s.recovers {
				value = recover()
			}
			err = c.panicked(value)
		}
		c.leaveStream(ss)
		c.end(err)
	}()
	if err := c.refusal(); err != nil {
		returned = true
		return err
	}
	c.shedEnd(shed.Ignored)
	if c.ctx != ss.Context() {
		ss = &serverStream{ss, c.ctx}
	}
	err = handler(srv, ss)
	returned = true
	return unmarked(err)
}

// isRegistered reports whether a stream belongs to a registered method. gRPC calls the handler of unknown methods
// without a service, as a bidirectional stream; a service may be registered without an implementation, too.
func isRegistered(srv any, info *grpc.StreamServerInfo) bool {
	return srv != nil || !info.IsClientStream || !info.IsServerStream
}

// serverStream is a stream whose handler sees the span of the call.
type serverStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *serverStream) Context() context.Context { return s.ctx }

// unknownMethod answers calls of unregistered methods as gRPC itself would, but within the interceptors.
func unknownMethod(_ any, ss grpc.ServerStream) error {
	name, _ := grpc.MethodFromServerStream(ss)
	return status.Errorf(codes.Unimplemented, "no method %q is registered on this server", name)
}
