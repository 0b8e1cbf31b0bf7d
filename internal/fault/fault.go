// Package fault is the vocabulary of errors that all packages of the module share.
//
// Each capability exports the classes that it uses under its own names (kv.ErrUnavailable, sync.ErrUnavailable), and adds its own few with
// [New]. Names of the same class are the same value: errors.Is(err, kv.ErrUnavailable) holds for a lock, too. A driver gives the error of
// its engine a class with [Classify]. [Type] is the error.type of an error in telemetry.
package fault

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// The classes of errors that more than one capability uses.
var (
	// NotFound means that the requested thing does not exist.
	NotFound = New("not_found", "not found")
	// Conflict means that the current state is not what a conditional request expected.
	Conflict = New("conflict", "conflict")
	// Invalid means that the request makes no sense. Every retry would fail.
	Invalid = New("invalid", "invalid")
	// Denied means that the caller is unknown or may not do this. A retry fails until somebody grants the right.
	Denied = New("denied", "denied")
	// TooLarge means that something exceeds a limit.
	TooLarge = New("too_large", "too large")
	// Unavailable means that an engine or a peer did not answer. The request may have been carried out.
	Unavailable = New("unavailable", "unavailable")
	// Closed means that the value was closed.
	Closed = New("closed", "closed")
	// Held means that somebody else holds the requested thing.
	Held = New("held", "held")
	// Lost means that a held thing ended before it was released.
	Lost = New("lost", "lost")
)

const (
	// TypeOther is the error.type of an error without a class.
	TypeOther = "_OTHER"
	// TypePanic is the error.type of a call that panicked.
	TypePanic = "panic"
)

// New returns a class of errors. errorType is the value of error.type: short, lower case, and one of few. text is for people. A class is a
// package variable; telemetry has one series for each error.type.
func New(errorType, text string) error { return &class{errorType, text} }

type class struct{ errorType, text string }

// Error implements error.
func (c *class) Error() string { return c.text }

// ErrorType returns the value of error.type.
func (c *class) ErrorType() string { return c.errorType }

// Type returns the error.type of err: that of its class. If err has several classes, the outermost counts, and the first of joined errors.
// Without a class it is canceled, timeout, unsupported or TypeOther; nil has none. An error whose methods panic, such as a nil pointer, is
// TypeOther.
func Type(err error) (errorType string) {
	if err == nil {
		return ""
	}
	defer func() {
		if recover() != nil {
			errorType = TypeOther
		}
	}()
	if c, ok := errors.AsType[*class](err); ok {
		return c.errorType
	}
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, errors.ErrUnsupported):
		return "unsupported"
	}
	return TypeOther
}

// Classify returns an error that is both a class and the error of an engine: errors.Is and errors.As find both. The message has no text
// twice in a row, and names the class only if the engine's error does not say the same. A nil err gives nil, so that a method may end with
// Classify. A nil class gives err.
func Classify(class, err error) error {
	if class == nil || err == nil {
		return err
	}
	return &classified{class: class, err: err}
}

type classified struct{ class, err error }

// Error implements error.
func (c *classified) Error() string {
	class, text := c.class.Error(), c.err.Error()
	if !strings.Contains(text, class) {
		text = class + ": " + text
	}
	return strings.Join(slices.Compact(strings.Split(text, ": ")), ": ") // some clients repeat themselves: "nats: nats: …"
}

// Unwrap returns both errors.
func (c *classified) Unwrap() []error { return []error{c.class, c.err} }
