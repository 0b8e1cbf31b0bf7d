package osgrpc

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/go-os/go-os/internal/serverload"
)

// Load measures how busy a process is: see Options.ReportLoad. It is the same type as oshttp.Load.
type Load = serverload.Load

// NewLoad returns the Load of an idle process.
func NewLoad() *Load { return serverload.New() }

// ProbeMethod is the method by which clients ask a server with Options.ReportLoad for its load: a unary call whose request and response are
// google.protobuf.Empty. The load is in the trailer. Other servers answer UNIMPLEMENTED.
const ProbeMethod = "/goos.router.v1.Load/Probe"

// The trailer keys of a report: the requests in flight, and the expected latency in microseconds.
const (
	inFlightKey = serverload.InFlightKey
	latencyKey  = serverload.LatencyKey
)

// trailerOf returns the trailer that carries a report.
func trailerOf(r serverload.Report) metadata.MD {
	inFlight, latency := r.Values()
	return metadata.MD{inFlightKey: {inFlight}, latencyKey: {latency}}
}

// reportIn returns the report in a trailer, if it has a valid one.
func reportIn(trailer metadata.MD) (serverload.Report, bool) {
	inFlight, latency := trailer[inFlightKey], trailer[latencyKey]
	switch {
	case len(inFlight) != 1, len(latency) > 1:
		return serverload.Report{}, false
	case len(latency) == 0:
		return serverload.Parse(inFlight[0], "")
	}
	return serverload.Parse(inFlight[0], latency[0])
}

// isProbe reports whether the server answers a method as a probe. Probes pass no interceptor, have no telemetry and hold no place: they must
// neither change what they measure, nor fail when the server is busy.
func (s *server) isProbe(fullMethod string) bool { return s.load != nil && fullMethod == ProbeMethod }

// probe answers a probe. Its stream is that of an unregistered method, so its registration cannot be forgotten.
func (s *server) probe(ss grpc.ServerStream) error {
	if service, wrong := s.misdirected(ss.Context()); wrong {
		return errMisdirected(service)
	}
	if err := ss.RecvMsg(new(emptypb.Empty)); err != nil {
		return err
	}
	ss.SetTrailer(trailerOf(s.load.Report()))
	return ss.SendMsg(new(emptypb.Empty))
}

// leaveUnary ends the part of a unary call in the server's load, and reports the load in its trailer. The time of a call whose caller has gone,
// or that failed at once, does not show the latency of others.
func (c *serverCall) leaveUnary(err error) {
	if c.unreported() {
		return
	}
	code, _ := statusOf(err)
	if c.ctx.Err() == nil && (!serverFault(code) || code == codes.DeadlineExceeded) {
		c.work.End()
	} else {
		c.work.Leave()
	}
	_ = grpc.SetTrailer(c.ctx, trailerOf(c.server.load.Report()))
}

// leaveStream is leaveUnary for a stream, which lasts as long as its peers like.
func (c *serverCall) leaveStream(ss grpc.ServerStream) {
	if c.unreported() {
		return
	}
	c.work.Leave()
	ss.SetTrailer(trailerOf(c.server.load.Report()))
}

// unreported reports whether a call has no part in the load.
func (c *serverCall) unreported() bool { return c.server.load == nil || c.filtered }
