// Package defaults fills in the defaults of options and rejects invalid values, with the same words everywhere. Zero means the default; a
// negative number is a mistake.
//
//	func (o *Options) withDefaults() (Options, error) {
//		all := defaults.Copy(o)
//		return all, cmp.Or(
//			defaults.Fill("kv.Options.PageSize", &all.PageSize, DefaultPageSize),
//			defaults.Fill("kv.Options.Backoff", &all.Backoff, DefaultBackoff),
//		)
//	}
//
// Drivers use it too: it imports no telemetry. Constructors that cannot return an error use package option.
package defaults

import (
	"fmt"
	"reflect"

	"github.com/go-os/go-os/internal/fault"
)

// Copy returns a copy of the options, which may be nil.
func Copy[T any](o *T) (all T) {
	if o != nil {
		all = *o
	}
	return all
}

// Fill sets an option that is zero to its default. It returns fault.Invalid if the value is negative or not a number. The name includes the
// package: "kv.Options.PageSize".
func Fill[T ~int | ~int64 | ~float64](name string, value *T, standard T) error {
	switch {
	case *value == 0:
		*value = standard
	case !(*value > 0): // NaN is invalid, too
		return fault.Classify(fault.Invalid, fmt.Errorf("%s is %v: give a positive value, or 0 for the default, %v", name, *value, standard))
	}
	return nil
}

// Given returns fault.Invalid if a required argument is nil, or an interface that holds a nil pointer. call names the constructor, such as "etcdkv: New"; what names the argument.
func Given[T comparable](call, what string, given T) error {
	var missing T
	if v := reflect.ValueOf(given); given == missing || v.Kind() == reflect.Pointer && v.IsNil() {
		return fmt.Errorf("%w: %s: the %s is nil", fault.Invalid, call, what)
	}
	return nil
}
