package instrument

import (
	"slices"
	"sync/atomic"

	"go.opentelemetry.io/otel/propagation"
)

// w3c are the fields of the W3C recommendations. Other services understand them, whatever this service propagates.
var w3c = []string{"traceparent", "tracestate", "baggage"}

// Fields are the keys that a propagator may write, as a carrier stores them. A service must remove them before it injects: a propagator
// writes only what it has, and a key that a proxy copied from a received request belongs to another call. Fields is safe for concurrent
// use.
type Fields struct {
	propagator propagation.TextMapPropagator
	store      func(string) string
	more       []string
	known      atomic.Pointer[fieldKeys]
}

type fieldKeys struct{ own, foreign []string }

// NewFields returns the fields of a propagator; nil means no propagator. store returns a key as the carrier stores it. more are stored keys
// that are foreign in addition to those of propagators.
func NewFields(p propagation.TextMapPropagator, store func(string) string, more ...string) *Fields {
	return &Fields{propagator: p, store: store, more: more}
}

// Keys returns the keys that the propagator writes. They must not be changed.
func (f *Fields) Keys() []string { return f.keys().own }

// Foreign returns the keys by which an untrusted caller could reach this service and the services behind it: the keys of the propagator,
// those of the W3C recommendations, and the additional ones. They must not be changed.
func (f *Fields) Foreign() []string { return f.keys().foreign }

// keys asks the propagator once. The process-wide propagator has no fields until one is installed, and then keeps them for good. It is
// therefore asked until it has some.
func (f *Fields) keys() fieldKeys {
	if known := f.known.Load(); known != nil {
		return *known
	}
	var keys fieldKeys
	if f.propagator != nil {
		keys.own = f.stored(f.propagator.Fields())
	}
	keys.foreign = slices.Concat(keys.own, f.stored(w3c), f.more)
	if f.propagator == nil || len(keys.own) > 0 {
		f.known.Store(&keys)
	}
	return keys
}

func (f *Fields) stored(keys []string) []string {
	stored := slices.Clone(keys)
	for i, key := range stored {
		stored[i] = f.store(key)
	}
	return stored
}
