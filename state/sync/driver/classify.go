package driver

import "github.com/go-os/go-os/internal/fault"

// Classify returns an error that wraps both a class and the error of an engine. The class is one of the errors of this package, or the error
// of a context. The message repeats no text, and omits the class if the engine's error already contains it. A nil err
// is nil, so that a method may end with Classify; without a class the result is err.
func Classify(class, err error) error { return fault.Classify(class, err) }
