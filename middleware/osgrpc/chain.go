package osgrpc

import (
	"context"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/baggage"
	"google.golang.org/grpc/metadata"

	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/control/router/shed"
)

// What a call says about itself to the services along its way, as metadata.
var (
	// attemptMark marks the attempts after the first one. A server that sees it does not repeat the calls that it makes for this one, so that
	// retries do not multiply along a chain of services.
	attemptMark = "goos-attempt"
	priorityKey = strings.ToLower(shed.PriorityHeader)
	labelPrefix = strings.ToLower(router.LabelHeaderPrefix)
)

// receive returns the context of a handler with what the call says about itself. Callers that are not trusted have no say in priorities and
// retries. The labels that Options.Labels lists are taken from every caller.
func (s *server) receive(ctx context.Context) context.Context {
	if !s.public {
		if p, ok := priorityOf(ctx); ok {
			ctx = shed.WithPriority(ctx, p)
		}
		if mark := metadata.ValueFromIncomingContext(ctx, attemptMark); len(mark) > 0 && mark[0] != "1" {
			ctx = router.WithoutRetries(ctx)
		}
	}
	if s.labels != nil {
		md, _ := metadata.FromIncomingContext(ctx)
		if labels, _ := s.labels.Labels(md, baggage.FromContext(ctx)); labels != nil {
			ctx = router.WithLabels(ctx, labels)
		}
	}
	return ctx
}

// priorityOf returns the priority that a received call claims.
func priorityOf(ctx context.Context) (shed.Priority, bool) {
	claimed := metadata.ValueFromIncomingContext(ctx, priorityKey)
	if len(claimed) != 1 {
		return shed.Normal, false
	}
	p, err := shed.ParsePriority(claimed[0])
	return p, err == nil
}

// foreign reports whether a metadata key of an untrusted caller must not reach the handler, which may forward it.
func foreign(key string) bool {
	return key == priorityKey || key == attemptMark || strings.HasPrefix(key, labelPrefix)
}

// sending returns ctx with the metadata of a call to a service: its name, in place of the name by which a proxy was called, and the priority and the
// labels of the context.
func sending(ctx context.Context, service string) context.Context {
	md, ok := metadata.FromOutgoingContext(ctx)
	if !ok {
		md = make(metadata.MD, 1)
	}
	md[serviceKey] = []string{service}
	if p, ok := shed.PriorityFrom(ctx); ok && p != shed.Exempt {
		md[priorityKey] = []string{p.String()}
	}
	for name, value := range router.LabelsFrom(ctx) {
		outgoing(md).Set(labelPrefix+name, value)
	}
	return metadata.NewOutgoingContext(ctx, md)
}

// marking returns ctx with the number of the attempt, unless it is the first one. A call that this process serves as a retry marks the calls
// that it causes, too.
func marking(ctx context.Context, number int64) context.Context {
	if !router.RetriesAllowed(ctx) {
		number = max(number, 2)
	}
	if number < 2 {
		return ctx
	}
	md, ok := metadata.FromOutgoingContext(ctx)
	if !ok {
		md = make(metadata.MD, 1)
	}
	md[attemptMark] = []string{strconv.FormatInt(number, 10)}
	return metadata.NewOutgoingContext(ctx, md)
}
