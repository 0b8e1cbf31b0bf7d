package sync

import (
	"context"
	"fmt"
)

// Lost returns nil while every grant that ctx belongs to holds: ctx is the grant's Context, or derives from it. Otherwise it returns the
// reason: an error that wraps ErrLost or ErrClosed, or ErrNotHeld if the grant was released or ctx belongs to no grant.
//
// It reads the clock and sends no request, as the Err of the grant's own context does. A derived context, such as one of
// context.WithTimeout, ends only when a timer fires. In a process that was paused, that may be a moment after it resumes. So call Lost
// right before work that must not be done without the grant.
func Lost(ctx context.Context) error {
	g := grantOf(ctx)
	if g == nil {
		return &Error{Op: "lost", Err: fmt.Errorf("%w: the context belongs to no grant", ErrNotHeld)}
	}
	for ; g != nil; g = g.outer() {
		why := g.ended()
		switch {
		case why == nil:
		case why.end == endReleased:
			return &Error{Op: "lost", Name: g.of.name, Err: fmt.Errorf("%w: it was released", ErrNotHeld)}
		default:
			return &Error{Op: "lost", Name: g.of.name, Err: why.err}
		}
	}
	return nil
}

// grantOf returns the innermost grant that ctx belongs to, or nil.
func grantOf(ctx context.Context) *Grant {
	g, _ := ctx.Value(heldKey{}).(*Grant)
	return g
}
