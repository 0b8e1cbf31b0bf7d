// Package option checks the numeric options of a constructor that cannot return an error, or that returns all mistakes in one. Zero means
// the default; a negative number is a mistake. Other constructors use package defaults.
//
//	option.Default("osgrpc.Options", "Timeout", &opts.Timeout) // reports a negative value and sets it to zero
package option

import (
	"errors"
	"fmt"

	"go.opentelemetry.io/otel"

	"github.com/go-os/go-os/internal/fault"
)

// Number is a type of options whose zero means the default.
type Number interface {
	~int | ~int64
}

// Field is an option with its name.
type Field struct {
	name  string
	value any // nil unless it is negative
}

// Of returns a field for [Check].
func Of[T Number](name string, value T) Field {
	if value < 0 {
		return Field{name, value}
	}
	return Field{name: name}
}

// Check returns an error that names each negative field and is fault.Invalid. owner is the type of the fields, such as "log.FileOptions".
func Check(owner string, fields ...Field) error {
	var all []error
	for _, f := range fields {
		if f.value != nil {
			all = append(all, fmt.Errorf("%s.%s: %w: %v is negative; zero means the default", owner, f.name, fault.Invalid, f.value))
		}
	}
	return errors.Join(all...)
}

// Default replaces a negative value with zero, the default, and reports it to the error handler of OpenTelemetry.
func Default[T Number](owner, name string, value *T) {
	if err := Check(owner, Of(name, *value)); err != nil {
		otel.Handle(fmt.Errorf("%w, which is used", err))
		*value = 0
	}
}
