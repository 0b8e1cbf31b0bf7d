// Package option fills in the defaults of options.
package option

import (
	"fmt"

	"github.com/go-os/go-os/control/config/driver"
)

// Default sets an option that is zero to its default. It returns ErrInvalid, with the name of the option, if the value is negative or
// not a number.
func Default[N ~int | ~int64 | ~float64](name string, value *N, def N) error {
	switch {
	case *value == 0:
		*value = def
	case !(*value > 0): // NaN is invalid, too
		return fmt.Errorf("%w: %s is %v: give a positive value, or 0 for the default, %v", driver.ErrInvalid, name, *value, def)
	}
	return nil
}
