package trace

import (
	"context"
	"errors"
	"sync"
)

// spanContext is the context of a span. It remembers the failures that the spans below have emitted, so that one failure is one
// event.
type spanContext struct {
	context.Context
	parent *spanContext

	mu      sync.Mutex
	emitted []any // errors and panics, newest last
}

// scopeKey is the context key of the spanContext.
type scopeKey struct{}

// maxEmitted bounds the memory of a long span. Failures pass from span to span within moments, so the newest matter.
const maxEmitted = 16

// Value implements context.Context.
func (c *spanContext) Value(key any) any {
	if key == (scopeKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// first reports whether no span below has emitted this failure, and records the failure for the span above.
func (c *spanContext) first(failure any) bool {
	c.mu.Lock()
	known := false
	for _, before := range c.emitted {
		known = known || same(failure, before)
	}
	c.mu.Unlock()
	if c.parent != nil {
		c.parent.note(failure)
	}
	return !known
}

func (c *spanContext) note(failure any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.emitted) == maxEmitted {
		copy(c.emitted, c.emitted[1:])
		c.emitted = c.emitted[:maxEmitted-1]
	}
	c.emitted = append(c.emitted, failure)
}

// same reports whether a failure is, or wraps, an earlier one. Values that cannot be compared are different.
func same(failure, before any) (is bool) {
	defer func() {
		if recover() != nil {
			is = false
		}
	}()
	err, ok := failure.(error)
	old, wasError := before.(error)
	if ok && wasError {
		return errors.Is(err, old)
	}
	return failure == before
}
