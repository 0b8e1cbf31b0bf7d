// Package fault gives the errors of engines the classes by which callers tell them apart.
package fault

import (
	"slices"
	"strings"
)

// Classify returns an error that is both a class and the error of an engine: errors.Is and errors.As find both. The message has no text
// twice in a row, and the class only if the engine's error does not say the same.
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
