package config

import (
	"fmt"
	"log/slog"
	"reflect"
)

// Redacted is what a Secret shows of itself.
const Redacted = "[redacted]"

// Secret holds a value that must not be shown. It prints as Redacted through every verb of fmt, log/slog, encoding/json,
// encoding/xml, YAML, TOML, templates and every other printer that calls a method. [Secret.Reveal] is the only way to the value.
// A configuration writes a Secret as it writes a T.
//
// A printer cannot call methods on an unexported field. For that case the value lies behind two pointers: fmt and log/slog print
// an address. Printers that follow the pointers of unexported fields, such as go-spew and debuggers, show the value: do not
// give them a configuration.
//
// Secrets cannot be compared with ==: compare what Reveal returns, or use reflect.DeepEqual.
//
// The tag `config:"name,secret"` keeps a field of another type out of dumps, origins and errors. The application must then take
// care not to print it.
type Secret[T any] struct {
	_     [0]func() // makes == an error at compile time: it would compare pointers
	value **T       // nil for the zero value of T, so that equal secrets are deeply equal; fmt follows one pointer for a wrong verb
}

// NewSecret returns a Secret that holds value.
func NewSecret[T any](value T) Secret[T] {
	if reflect.ValueOf(&value).Elem().IsZero() {
		return Secret[T]{}
	}
	inner := &value
	return Secret[T]{value: &inner}
}

// Reveal returns the value.
func (s Secret[T]) Reveal() (value T) {
	if s.value != nil {
		return **s.value
	}
	return value
}

// String returns Redacted.
func (Secret[T]) String() string { return Redacted }

// GoString returns Redacted, for %#v.
func (Secret[T]) GoString() string { return Redacted }

// Format writes Redacted, whatever the verb.
func (Secret[T]) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Redacted)) }

// LogValue is what log/slog writes.
func (Secret[T]) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText is what encoding/json, encoding/xml and TOML write.
func (Secret[T]) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// MarshalYAML is what YAML writes.
func (Secret[T]) MarshalYAML() (any, error) { return Redacted, nil }

// secret is implemented by every Secret.
type secret interface {
	inner() any
	innerType() reflect.Type
}

// settable is implemented by a pointer to every Secret.
type settable interface {
	secret
	conceal(value reflect.Value)
}

func (s Secret[T]) inner() any { return s.Reveal() }

func (Secret[T]) innerType() reflect.Type { return reflect.TypeFor[T]() }

func (s *Secret[T]) conceal(value reflect.Value) {
	v, _ := value.Interface().(T) // not ok for a nil of an interface type: then v is nil too
	*s = NewSecret(v)
}
