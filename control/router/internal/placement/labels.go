package placement

import (
	"cmp"
	"fmt"
	"net/textproto"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/otel/baggage"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/internal/sanitize"
)

const (
	// HeaderPrefix begins the name of a header, or of a gRPC metadata key, that carries a label: "X-Micro-Label-Tenant: acme".
	HeaderPrefix = "X-Micro-Label-"
	// BaggagePrefix begins the name of a W3C baggage member that carries a label: "route.tenant=acme".
	BaggagePrefix = "route."
)

// The defaults of Limits.
const (
	DefaultMaxLabels = 16
	DefaultMaxValue  = 128
)

// maxKey is the length of the longest name of a label, in bytes.
const maxKey = 64

// Limits bound what a caller can send.
type Limits struct {
	// MaxLabels is how many labels a request may have. Zero means DefaultMaxLabels.
	MaxLabels int
	// MaxValue is the length of the longest value, in bytes. Zero means DefaultMaxValue.
	MaxValue int
}

// Allowlist takes the labels of a request from its headers and its baggage. Callers are not trusted: only listed labels are taken, and a
// value is refused as a whole if it is empty, too long, not UTF-8, has a control character or is given twice. It is immutable.
//
// A header name has no case, so a label from a header has the case of the list. The case of baggage names counts, as W3C Baggage has it. A
// header wins over baggage.
type Allowlist struct {
	names  []name
	limits Limits
}

// name is a listed label, under the names by which it arrives.
type name struct{ key, header, metadata, baggage string }

// NewAllowlist returns the list of these labels. It returns fault.Invalid for a name that a header cannot carry, for two names that differ
// only in case, and for limits below zero.
func NewAllowlist(keys []string, limits Limits) (*Allowlist, error) {
	err := cmp.Or(
		defaults.Fill("labels.max_labels", &limits.MaxLabels, DefaultMaxLabels),
		defaults.Fill("labels.max_value", &limits.MaxValue, DefaultMaxValue),
	)
	if err != nil {
		return nil, err
	}
	a, seen := &Allowlist{limits: limits}, map[string]string{}
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return nil, err
		}
		folded := strings.ToLower(key)
		if other, ok := seen[folded]; ok {
			return nil, fmt.Errorf("%w: duplicate label %q: %q is allowed already, and headers have no case", fault.Invalid, key, other)
		}
		seen[folded] = key
		header := textproto.CanonicalMIMEHeaderKey(HeaderPrefix + key)
		a.names = append(a.names, name{key: key, header: header, metadata: strings.ToLower(header), baggage: BaggagePrefix + key})
	}
	return a, nil
}

// checkKey returns nil if headers, gRPC metadata and baggage can carry a label of this name.
func checkKey(key string) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("%w: label %q: use a name of 1 to %d bytes", fault.Invalid, sanitize.Text(key, maxKey), maxKey)
	}
	for _, r := range key {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
		default:
			return fmt.Errorf("%w: label %q: use only letters, digits, hyphens, underscores and dots", fault.Invalid, key)
		}
	}
	return nil
}

// Labels returns the labels of a request, and how many listed ones were refused. The keys of header are those of http.Header or of gRPC
// metadata. The result is nil if there are none. Over MaxLabels, the first ones in the order of the list are taken.
func (a *Allowlist) Labels(header map[string][]string, members baggage.Baggage) (labels map[string]string, refused int) {
	for i := range a.names {
		n := &a.names[i]
		value, given := n.fromHeader(header)
		if !given && members.Len() > 0 {
			value, given = n.fromBaggage(members)
		}
		switch {
		case !given:
		case len(labels) >= a.limits.MaxLabels || !a.accepts(value):
			refused++
		default:
			if labels == nil {
				labels = make(map[string]string)
			}
			labels[n.key] = value
		}
	}
	return labels, refused
}

// fromHeader returns the value of a header. A header that is given twice is ambiguous, and has the value "", which is refused.
func (n *name) fromHeader(header map[string][]string) (value string, given bool) {
	values := header[n.header]
	lower := header[n.metadata]
	switch len(values) + len(lower) {
	case 0:
		return "", false
	case 1:
		if len(values) == 0 {
			values = lower
		}
		return values[0], true
	}
	return "", true
}

func (n *name) fromBaggage(members baggage.Baggage) (value string, given bool) {
	member := members.Member(n.baggage)
	return member.Value(), member.Key() != ""
}

// accepts reports whether a value can be a label.
func (a *Allowlist) accepts(value string) bool {
	if value == "" || len(value) > a.limits.MaxValue || !utf8.ValidString(value) {
		return false
	}
	return !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f })
}
