package shed

import (
	"context"
	"fmt"

	"github.com/go-os/go-os/internal/fault"
)

// Priority is how important a request is. A higher number is more important. The zero value is Normal.
type Priority int8

// The priorities.
const (
	// Sheddable work may fail at any time: prefetching, batch jobs that retry.
	Sheddable Priority = iota - 2
	// Low is work that nobody waits for.
	Low
	// Normal is the priority of a request without one.
	Normal
	// High is work that a user waits for.
	High
	// Critical is work whose failure users see as an outage, such as login or payment.
	Critical
	// Exempt work is always admitted and never counted: health checks and load probes. It has no text form, so no caller can claim it.
	Exempt
)

// PriorityHeader is the HTTP header, and in lower case the gRPC metadata key, that carries the priority of a request in its text form. Accept
// it from trusted callers only.
const PriorityHeader = "Goos-Priority"

var names = [...]string{"sheddable", "low", "normal", "high", "critical"}

// levels is how many priorities compete.
const levels = len(names)

// level returns the index of a priority. Values outside of the constants count as the nearest one.
func (p Priority) level() int { return int(min(max(p, Sheddable), Critical) - Sheddable) }

// String returns the text form: sheddable, low, normal, high or critical. That of Exempt is exempt.
func (p Priority) String() string {
	if p >= Exempt {
		return "exempt"
	}
	return names[p.level()]
}

// ParsePriority returns the priority that has this text form, or ErrInvalid.
func ParsePriority(text string) (Priority, error) {
	for i, name := range names {
		if text == name {
			return Priority(i) + Sheddable, nil
		}
	}
	return Normal, fmt.Errorf("%w: priority %.32q is unknown: give one of sheddable, low, normal, high, critical", ErrInvalid, text)
}

// MarshalText implements encoding.TextMarshaler.
func (p Priority) MarshalText() ([]byte, error) {
	if p < Sheddable || p > Critical {
		return nil, fmt.Errorf("%w: priority %d has no text form", ErrInvalid, p)
	}
	return []byte(p.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Priority) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePriority(string(text))
	return err
}

// ErrInvalid means that a request or an option makes no sense.
var ErrInvalid = fault.Invalid

type priorityKey struct{}

// WithPriority returns a context in which requests have this priority.
func WithPriority(ctx context.Context, p Priority) context.Context {
	return context.WithValue(ctx, priorityKey{}, p)
}

// PriorityFrom returns the priority of requests in this context. Without one it is Normal and false.
func PriorityFrom(ctx context.Context) (Priority, bool) {
	p, ok := ctx.Value(priorityKey{}).(Priority)
	return p, ok
}
