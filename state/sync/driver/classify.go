package driver

import "github.com/go-os/go-os/internal/fault"

// Classify gives an error of an engine its class: one of the errors of this package, or that of a context. errors.Is and errors.As find
// both. The message has no text twice in a row, and the class only if the engine's error does not say the same.
func Classify(class, err error) error { return fault.Classify(class, err) }
