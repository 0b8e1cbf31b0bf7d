package instrument

import (
	"slices"
	"sync/atomic"

	"go.opentelemetry.io/otel/propagation"
)

// w3c are the fields of the W3C recommendations, which other services understand whatever this one propagates.
var w3c = []string{"traceparent", "tracestate", "baggage"}

// Fields are the keys that a propagator may write, as a carrier stores them. A service that injects must remove them first: a
// propagator writes only what it has, and what a proxy copied from the request that it received belongs to another call.
// Fields is safe for concurrent use.
type Fields struct {
	propagator propagation.TextMapPropagator
	store      func(string) string
	more       []string
	known      atomic.Pointer[fieldKeys]
}

type fieldKeys struct{ own, foreign []string }

// NewFields returns the fields of a propagator, nil for none. store returns a key as the carrier stores it. more are keys, as
// stored, that are foreign beside those of propagators.
func NewFields(p propagation.TextMapPropagator, store func(string) string, more ...string) *Fields {
	return &Fields{propagator: p, store: store, more: more}
}

// Keys returns the keys that the propagator writes. They must not be changed.
func (f *Fields) Keys() []string { return f.keys().own }

// Foreign returns the keys by which an untrusted caller could reach this service and those behind it: those of the propagator,
// those of the W3C recommendations, and the additional ones. They must not be changed.
func (f *Fields) Foreign() []string { return f.keys().foreign }

// keys asks the propagator once. The process-wide one has no fields until one is installed, and then keeps those for good, so
// it is asked until it has some.
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
