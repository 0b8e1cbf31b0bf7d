// Package option fills in the defaults of options and refuses values that make no sense, in the same words everywhere. Zero means the
// default; a negative number is a mistake.
//
//	func (o *Options) withDefaults() (Options, error) {
//		all := option.Copy(o)
//		return all, cmp.Or(
//			option.Fill("kv.Options.PageSize", &all.PageSize, DefaultPageSize),
//			option.Fill("kv.Options.Backoff", &all.Backoff, DefaultBackoff),
//		)
//	}
//
// A constructor that can report no error calls [Default] instead, which uses the default and reports the mistake.
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

// Copy returns a copy of the options, which may be nil.
func Copy[T any](o *T) (all T) {
	if o != nil {
		all = *o
	}
	return all
}

// Fill sets an option that is zero to its default. It returns fault.Invalid if the value is negative or not a number. The name has the
// package: "kv.Options.PageSize".
func Fill[T Number | ~float64](name string, value *T, standard T) error {
	switch {
	case *value == 0:
		*value = standard
	case !(*value > 0): // NaN is invalid, too
		return fault.Classify(fault.Invalid, fmt.Errorf("%s is %v: give a positive value, or 0 for the default, %v", name, *value, standard))
	}
	return nil
}

// Given returns fault.Invalid if what a constructor needs is nil. call names the constructor, such as "etcdkv: New"; what is its argument.
func Given[T comparable](call, what string, given T) error {
	var missing T
	if given == missing {
		return fmt.Errorf("%w: %s: the %s is nil", fault.Invalid, call, what)
	}
	return nil
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

// Check returns an error that names each negative field, and is fault.Invalid. The owner is what the fields belong to, such as
// "log.FileOptions".
func Check(owner string, fields ...Field) error {
	var all []error
	for _, f := range fields {
		if f.value != nil {
			all = append(all, fmt.Errorf("%s.%s: %w: %v is negative; zero means the default", owner, f.name, fault.Invalid, f.value))
		}
	}
	return errors.Join(all...)
}

// Default replaces a negative value by zero, the default, and reports it to the error handler of OpenTelemetry.
func Default[T Number](owner, name string, value *T) {
	if err := Check(owner, Of(name, *value)); err != nil {
		otel.Handle(fmt.Errorf("%w, which is used", err))
		*value = 0
	}
}
