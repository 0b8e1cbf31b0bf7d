package router

import (
	"context"

	"go.opentelemetry.io/otel/baggage"

	"github.com/go-os/go-os/control/router/internal/placement"
)

// LabelHeaderPrefix begins the name of a header, or of a gRPC metadata key, that carries a label of a request: "X-Micro-Label-Tenant: acme".
// Members of the W3C baggage whose names begin with "route." are labels, too.
const LabelHeaderPrefix = placement.HeaderPrefix

// Allowlist takes the labels of a request from its headers and its baggage. Callers are not trusted: only listed labels are taken, 16 at most.
// A value is refused if it is empty, longer than 128 bytes, not UTF-8, has a control character or is given twice. It is immutable.
type Allowlist struct{ list *placement.Allowlist }

// NewAllowlist returns the list of these labels. It returns ErrInvalid for a name that a header cannot carry, and for two names that differ
// only in case: headers have none.
func NewAllowlist(names ...string) (*Allowlist, error) {
	list, err := placement.NewAllowlist(names, placement.Limits{})
	if err != nil {
		return nil, &Error{Op: "labels", Err: err}
	}
	return &Allowlist{list}, nil
}

// Labels returns the labels of a request, and how many listed ones were refused. The keys of header are those of http.Header or of gRPC
// metadata. A header wins over baggage. The result is nil if there are none.
func (a *Allowlist) Labels(header map[string][]string, members baggage.Baggage) (labels map[string]string, refused int) {
	return a.list.Labels(header, members)
}

type labelsKey struct{}

// WithLabels returns a context whose requests have these labels, unless Request.Labels is set. Do not change the map afterwards.
func WithLabels(ctx context.Context, labels map[string]string) context.Context {
	return context.WithValue(ctx, labelsKey{}, labels)
}

// LabelsFrom returns the labels of WithLabels. Do not change them.
func LabelsFrom(ctx context.Context) map[string]string {
	labels, _ := ctx.Value(labelsKey{}).(map[string]string)
	return labels
}

// complete adds the labels of the context to a request, if the policy uses labels.
func (s *Service) complete(ctx context.Context, req *Request) {
	if req.Labels == nil && len(s.policy().Labels.Allow) > 0 {
		req.Labels = LabelsFrom(ctx)
	}
}
