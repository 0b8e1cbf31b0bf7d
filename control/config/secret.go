package config

import (
	"fmt"
	"log/slog"
)

// Redacted is what a Secret shows of itself.
const Redacted = "[redacted]"

// Secret holds a value that must not be seen. It prints as Redacted through every verb of fmt, log/slog, encoding/json,
// YAML, TOML and whatever asks for a text; Reveal is the only way to the value. In a configuration it is written as a T is.
//
// A field of another type can be kept out of dumps and errors with the tag `config:"name,secret"`, but then it is up to the
// application not to print it.
type Secret[T any] struct {
	value T
}

// NewSecret returns a Secret that holds value.
func NewSecret[T any](value T) Secret[T] { return Secret[T]{value} }

// Reveal returns the value.
func (s Secret[T]) Reveal() T { return s.value }

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
type secret interface{ inner() any }

// settable is implemented by a pointer to every Secret.
type settable interface {
	secret
	target() any
}

func (s Secret[T]) inner() any { return s.value }

func (s *Secret[T]) target() any { return &s.value }
