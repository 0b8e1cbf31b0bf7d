package document

import (
	"errors"

	"github.com/go-os/go-os/control/config/driver"
)

// misfitError is the error for a value that does not fit or breaks a rule. The text may show the value, since the caller has it anyway.
// Telemetry and reports get the bare form.
type misfitError struct{ text, bare string }

func (e *misfitError) Error() string { return driver.ErrInvalid.Error() + ": " + e.text }
func (e *misfitError) Unwrap() error { return driver.ErrInvalid }

// WithoutValues returns an error without the values that it shows. It rebuilds the error: a replacement in its text would miss values that
// another error has quoted or escaped.
func WithoutValues(err error) error {
	switch e := err.(type) {
	case *driver.Error:
		redacted := *e
		redacted.Err = WithoutValues(e.Err)
		return &redacted
	case *misfitError:
		return &misfitError{text: e.bare, bare: e.bare}
	}
	if !showsValue(err) {
		return err
	}
	var inner []error // the text of a wrapping error may contain theirs, so it is left out
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			inner = append(inner, WithoutValues(one))
		}
	case interface{ Unwrap() error }:
		inner = append(inner, WithoutValues(e.Unwrap()))
	}
	return errors.Join(inner...)
}

// showsValue reports whether an error, or one that it wraps, shows a value.
func showsValue(err error) (shows bool) {
	EachError(err, func(one error) {
		if _, ok := one.(*misfitError); ok {
			shows = true
		}
	})
	return shows
}

// EachError visits an error and all errors that it wraps.
func EachError(err error, visit func(error)) {
	visit(err)
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			EachError(one, visit)
		}
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			EachError(inner, visit)
		}
	}
}
