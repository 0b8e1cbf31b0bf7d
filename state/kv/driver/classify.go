package driver

import "strings"

// Classify gives an error of an engine its class: one of the errors of this package, or that of a context. errors.Is and errors.As find
// both. The message has each text once, also where the engine's error already says what its class does.
func Classify(class, err error) error { return &classified{class: class, err: err} }

type classified struct{ class, err error }

// Error implements error.
func (c *classified) Error() string {
	class, said := c.class.Error(), c.err.Error()
	if strings.Contains(said, class) {
		return said
	}
	return class + ": " + said
}

// Unwrap returns both errors.
func (c *classified) Unwrap() []error { return []error{c.class, c.err} }
