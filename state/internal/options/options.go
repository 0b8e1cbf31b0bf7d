// Package options fills in the defaults of options and refuses values that make no sense, in the same words for all packages of state.
//
//	func (o *Options) withDefaults() (Options, error) {
//		all := options.Copy(o)
//		return all, cmp.Or(
//			options.Default("kv.Options.PageSize", &all.PageSize, DefaultPageSize),
//			options.Default("kv.Options.Backoff", &all.Backoff, DefaultBackoff),
//		)
//	}
package options

import (
	"fmt"

	"github.com/go-os/go-os/internal/fault"
)

// Copy returns a copy of the options, which may be nil.
func Copy[T any](o *T) (all T) {
	if o != nil {
		all = *o
	}
	return all
}

// Default sets an option that is zero to its default. A negative one is fault.Invalid. name has the package: "kv.Options.PageSize".
func Default[T ~int | ~int64](name string, value *T, standard T) error {
	if *value < 0 {
		return fmt.Errorf("%w: %s is %v: give a positive value, or zero for the default", fault.Invalid, name, *value)
	}
	if *value == 0 {
		*value = standard
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
