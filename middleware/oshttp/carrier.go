package oshttp

import (
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/propagation"

	"github.com/go-os/go-os/telemetry"
)

// carrier is a cheaper propagation.HeaderCarrier. Canonicalizing "traceparent" allocates, at least twice a request, and the
// names that W3C propagators use are known in advance.
type carrier http.Header

// Get implements propagation.TextMapCarrier. Several lines of a header are one list, as RFC 9110 requires. This is right for
// tracestate and baggage; a repeated traceparent becomes unreadable, and so begins a new trace, as Trace Context requires.
func (c carrier) Get(key string) string {
	values := c.Values(key)
	if len(values) == 1 {
		return values[0]
	}
	return strings.Join(values, ",")
}

// Values implements propagation.ValuesGetter.
func (c carrier) Values(key string) []string { return c[headerKey(key)] }

// Set implements propagation.TextMapCarrier.
func (c carrier) Set(key, value string) { c[headerKey(key)] = []string{value} }

// Keys implements propagation.TextMapCarrier.
func (c carrier) Keys() []string { return propagation.HeaderCarrier(c).Keys() }

func headerKey(key string) string {
	switch key {
	case "traceparent":
		return "Traceparent"
	case "tracestate":
		return "Tracestate"
	case "baggage":
		return "Baggage"
	}
	return http.CanonicalHeaderKey(key)
}

// propagator returns the propagator of p, or nil if it never propagates anything. The process-wide one may be set later, so
// its fields are not conclusive yet.
func propagator(p telemetry.Providers) propagation.TextMapPropagator {
	if p.Propagator != nil && len(p.Propagator.Fields()) == 0 {
		return nil
	}
	return p.TextMapPropagator()
}
