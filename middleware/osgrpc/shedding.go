package osgrpc

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/go-os/go-os/control/router/shed"
)

// Shedder decides which calls an overloaded server serves. A *shed.Shedder implements it.
type Shedder interface {
	// Admit reports whether a call may be served. If so, Admission.Done follows.
	Admit(ctx context.Context, p shed.Priority) (admission shed.Admission, ok bool)
	// RetryAfter returns when the caller of a refused call may try again.
	RetryAfter() time.Duration
}

// admit asks the shedder for a call. A stream takes no place: its duration is no work.
func (c *serverCall) admit() bool {
	s := c.server
	if s.shedder == nil {
		return true
	}
	p, _ := shed.PriorityFrom(c.ctx)
	admission, ok := s.shedder.Admit(c.ctx, p)
	if !ok {
		return false
	}
	c.admission = &admission
	return true
}

// shedEnd tells the shedder how a call ended.
func (c *serverCall) shedEnd(o shed.Outcome) {
	if c.admission != nil {
		c.admission.Done(o)
	}
}

// shedOutcome returns how a unary call ended for the shedder. The handler's own refusals show nothing: they are fast, and say more about the
// caller or a dependency than about the latency of work here.
func (c *serverCall) shedOutcome(err error) shed.Outcome {
	code, _ := statusOf(err)
	switch {
	case code == codes.DeadlineExceeded:
		return shed.Dropped
	case c.ctx.Err() != nil, code == codes.Canceled, code == codes.ResourceExhausted, code == codes.Unavailable, serverFault(code):
		return shed.Ignored
	}
	return shed.Success
}

// shedError returns the error of a call that the shedder refused, and has the trailer ask for a wait (gRFC A6).
func (c *serverCall) shedError() error {
	wait := c.server.shedder.RetryAfter()
	_ = grpc.SetTrailer(c.ctx, metadata.MD{pushbackKey: {strconv.FormatInt(wait.Milliseconds(), 10)}})
	st, err := status.New(codes.ResourceExhausted, "the server is overloaded: try again later").
		WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
	if err != nil {
		return errBusy
	}
	return st.Err()
}
