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

	"github.com/go-os/go-os/internal/sanitize"
)

// serviceKey is the metadata key by which a client names the service that it calls.
const serviceKey = "goos-service"

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
		return ok && info.GetReason() == errorReason && info.GetDomain() == errorDomain && info.GetMetadata()[serviceKey] == service
	})
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

// naming returns ctx with the name of the service that is called, in place of the one that a proxy was called by.
func naming(ctx context.Context, service string) context.Context {
	md, ok := metadata.FromOutgoingContext(ctx)
	if !ok {
		md = make(metadata.MD, 1)
	}
	md[serviceKey] = []string{service}
	return metadata.NewOutgoingContext(ctx, md)
}

// unary makes a call at other instances too, if one refuses it as misdirected.
func (d *directory) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	s := d.serviceOf(cc)
	if s == nil {
		return invoker(ctx, method, req, reply, cc, opts...)
	}
	ctx = naming(ctx, s.name)
	from := new(peer.Peer)
	opts = append(opts[:len(opts):len(opts)], grpc.Peer(from))
	for refusals := 0; ; refusals++ {
		err := invoker(ctx, method, req, reply, cc, opts...)
		if err == nil {
			return nil
		}
		if !isMisdirected(err, s.name) {
			return s.explain(err)
		}
		most := s.size()
		s.refuse(ctx, from.Addr)
		if refusals >= most {
			return err
		}
	}
}
