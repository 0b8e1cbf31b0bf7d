package config

import (
	"fmt"
	"log/slog"

	"github.com/go-os/go-os/control/config/internal/document"
)

// Redacted is the text of every Secret.
const Redacted = document.Redacted

// Secret holds a value that must not be shown. It prints as Redacted with every verb of fmt, and with log/slog, encoding/json, encoding/xml,
// YAML, TOML, templates and every other printer that calls methods. Only [Secret.Reveal] returns the value. In a document a Secret is
// written as a T.
//
// A printer cannot call methods on an unexported field. In that case fmt and log/slog print an address, since the value is behind two
// pointers. Printers that follow the pointers of unexported fields, such as go-spew and debuggers, show the value: do not pass them a
// configuration.
//
// Secrets cannot be compared with ==: compare what Reveal returns, or use reflect.DeepEqual.
//
// The tag `config:"name,secret"` keeps a field of another type out of dumps, origins and errors. The application itself must not print it.
type Secret[T any] struct {
	concealed[T]
}

// concealed hides the value from printers. Its methods with access to the value belong to package document, so that users cannot call them.
type concealed[T any] = document.HiddenValue[T]

// NewSecret returns a Secret that holds value.
func NewSecret[T any](value T) Secret[T] {
	return Secret[T]{document.Hide(value)}
}

// Reveal returns the value.
func (s Secret[T]) Reveal() T { return s.concealed.Reveal() }

// String returns Redacted.
func (Secret[T]) String() string { return Redacted }

// GoString returns Redacted, for %#v.
func (Secret[T]) GoString() string { return Redacted }

// Format writes Redacted for every verb.
func (Secret[T]) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Redacted)) }

// LogValue returns Redacted, for log/slog.
func (Secret[T]) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText returns Redacted, for encoding/json, encoding/xml and TOML.
func (Secret[T]) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// MarshalYAML returns Redacted, for YAML.
func (Secret[T]) MarshalYAML() (any, error) { return Redacted, nil }
