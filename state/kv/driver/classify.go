package driver

import (
	"slices"
	"strings"
)

// Classify gives an error of an engine its class: one of the errors of this package, or that of a context. errors.Is and errors.As find
// both. The message has no text twice in a row, and the class only if the engine's error does not say the same.
func Classify(class, err error) error { return &classified{class: class, err: err} }

type classified struct{ class, err error }

// Error implements error.
func (c *classified) Error() string {
	class, said := c.class.Error(), c.err.Error()
	if !strings.Contains(said, class) {
		said = class + ": " + said
	}
	return strings.Join(slices.Compact(strings.Split(said, ": ")), ": ") // some clients repeat themselves: "nats: nats: …"
}

// Unwrap returns both errors.
func (c *classified) Unwrap() []error { return []error{c.class, c.err} }
