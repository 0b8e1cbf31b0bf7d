package osgrpc

import (
	"context"
	"slices"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/go-os/go-os/internal/sanitize"
)

// serviceKey is the metadata key by which a client names the service that it calls.
const serviceKey = "goos-service"

// maxRefusals is how many instances may refuse a call as misdirected. It keeps a wrong name in Options.Services from multiplying the calls of
// a fleet. Refusals are remembered, so the next calls try other instances.
const maxRefusals = 3

// The google.rpc.ErrorInfo of a refusal. Its metadata names the service that the call was for under serviceKey: a refusal of a server behind
// the called one has another name.
const (
	errorReason = "MISDIRECTED"
	errorDomain = "goos"
)

// errMisdirected returns the status of a call for another service. It does not reveal this server's own names.
func errMisdirected(service string) error {
	st := status.Newf(codes.FailedPrecondition, "misdirected: this server is not of the service %q: retry at another one", sanitize.Text(service, maxDetail))
	detailed, err := st.WithDetails(&errdetails.ErrorInfo{Reason: errorReason, Domain: errorDomain, Metadata: map[string]string{serviceKey: service}})
	if err != nil { // the name is not UTF-8
		return st.Err()
	}
	return detailed.Err()
}

// isMisdirected reports whether an error is the refusal of a call for a service.
func isMisdirected(err error, service string) bool {
	if err == nil {
		return false
	}
	st, ok := status.FromError(err)
	if !ok || st.Code() != codes.FailedPrecondition {
		return false
	}
	return slices.ContainsFunc(st.Details(), func(detail any) bool {
		info, ok := detail.(*errdetails.ErrorInfo)
		return ok && isMark(info) && info.GetMetadata()[serviceKey] == service
	})
}

// isMark reports whether an ErrorInfo marks a refusal.
func isMark(info *errdetails.ErrorInfo) bool {
	return info.GetReason() == errorReason && info.GetDomain() == errorDomain
}

// unmarked returns an error without the mark of a refusal. A handler may return the error of its own call. Its client would take the mark
// for a refusal of this server, and repeat a call that a handler has seen.
func unmarked(err error) error {
	st, ok := status.FromError(err)
	if !ok || st.Code() != codes.FailedPrecondition {
		return err
	}
	proto := st.Proto()
	kept := slices.DeleteFunc(proto.GetDetails(), func(detail *anypb.Any) bool {
		info := new(errdetails.ErrorInfo)
		return detail.UnmarshalTo(info) == nil && isMark(info)
	})
	if len(kept) == len(proto.GetDetails()) {
		return err
	}
	proto.Details = kept
	return status.FromProto(proto).Err()
}

// misdirected returns the service that a call is for, and whether that is another one. A call that names none is for this server.
func (s *server) misdirected(ctx context.Context) (service string, wrong bool) {
	if len(s.services) == 0 {
		return "", false
	}
	named := metadata.ValueFromIncomingContext(ctx, serviceKey)
	if len(named) == 0 || slices.Contains(s.services, named[0]) {
		return "", false
	}
	return named[0], true
}

// unary makes a call at other instances too, if one refuses it as misdirected.
func (d *directory) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	s := d.serviceOf(cc)
	if s == nil {
		return invoker(ctx, method, req, reply, cc, opts...)
	}
	ctx = sending(ctx, s.name)
	if s.route != nil {
		return s.call(ctx, method, req, reply, cc, invoker, opts)
	}
	from := new(peer.Peer)
	opts = append(opts[:len(opts):len(opts)], grpc.Peer(from))
	for refusals := 1; ; refusals++ {
		err := invoker(ctx, method, req, reply, cc, opts...)
		if err == nil {
			return nil
		}
		if !isMisdirected(err, s.name) {
			return s.explain(unmarked(err))
		}
		s.refuse(ctx, from.Addr)
		if refusals == maxRefusals {
			return unmarked(err)
		}
	}
}
