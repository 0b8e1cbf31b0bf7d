package config

import (
	"context"
	"fmt"
	"iter"
	"runtime/debug"
	"slices"

	"github.com/go-os/go-os/control/config/internal/document"
)

// Change is a step from one configuration to another.
type Change[T any] struct {
	// Old and New are the configurations before and after.
	Old, New *Snapshot[T]
	// Keys are the paths of the changed values, in order. A list is one value. Keys is empty if documents changed without changing a value.
	Keys []string
}

// Touches reports whether the value at a path changed, or one below or above it. Every change touches the path "".
func (c Change[T]) Touches(path string) bool { return touches(c.Keys, path) }

// touches reports whether one of the keys is at, below or above a path.
func touches(keys []string, path string) bool {
	return path == "" || slices.ContainsFunc(keys, func(k string) bool { return document.Within(k, path) || document.Within(path, k) })
}

// Changes iterates over the changes after the call, until ctx ends. A slow loop gets several changes as one, from the last state that it saw
// to the latest. A second loop over the same iterator starts at the call again.
func (c *Config[T]) Changes(ctx context.Context) iter.Seq[Change[T]] {
	steps := c.steps(ctx)
	return func(yield func(Change[T]) bool) {
		for s := range steps {
			if !yield(Change[T]{Old: snapshotOf[T](s.old), New: snapshotOf[T](s.new), Keys: s.keys}) {
				return
			}
		}
	}
}

// steps is Changes without the type parameter.
func (c *core) steps(ctx context.Context) iter.Seq[step] {
	first := c.current.Load()
	return func(yield func(step) bool) {
		seen := first
		for {
			c.mu.Lock()
			changed, now := c.changed, c.current.Load()
			c.mu.Unlock()
			if now != seen {
				change := step{old: seen, new: now, keys: document.ChangedKeys(seen.value, now.value)}
				seen = now
				if ctx.Err() != nil || !yield(change) {
					return
				}
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// callback is a function given to OnChange. Its arguments are pointers to the type of the configuration.
type callback struct {
	path string
	call func(old, new any)
}

// OnChange calls fn after every change of the value at a path, such as "limits" or "prices.lamp", or of one below it. The path "" means every
// change. Run and Reload make the calls, one at a time, in the order of the changes and then of the registrations. A slow fn delays later
// calls, but not Get. A panic is recovered, and emitted as an event. OnChange returns ErrInvalid if fn is nil, or if the type has no such
// path; a key of a map need not exist yet. stop ends the calls.
func (c *Config[T]) OnChange(path string, fn func(old, new *T)) (stop func(), err error) {
	var call func(old, new any)
	if fn != nil {
		call = func(old, new any) { fn(old.(*T), new.(*T)) }
	}
	return c.onChange(path, call)
}

func (c *core) onChange(path string, call func(old, new any)) (stop func(), err error) {
	if err := document.CheckPath(c.builder.Type, path); err != nil {
		return func() {}, err
	}
	if call == nil {
		return func() {}, &Error{Key: path, Err: fmt.Errorf("%w: OnChange has no function to call", ErrInvalid)}
	}
	one := &callback{path: path, call: call}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.callbacks = append(c.callbacks, one)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.callbacks = slices.DeleteFunc(slices.Clone(c.callbacks), func(other *callback) bool { return other == one })
	}, nil
}

// deliver runs the work that changes have left behind: telemetry, callbacks, the last-good file. The caller must hold no locks. Each outbox has
// its own order, so that a slow callback does not delay the log.
func (c *core) deliver() {
	c.events.run()
	c.calls.run()
	c.writes.run()
	c.events.run() // for a file that could not be written
}

// callBack calls the callbacks of a change.
func (c *core) callBack(ctx context.Context, change step) {
	c.mu.Lock()
	callbacks := c.callbacks // replaced, never changed in place
	c.mu.Unlock()
	for _, one := range callbacks {
		if touches(change.keys, one.path) {
			c.call(ctx, one, change)
		}
	}
}

func (c *core) call(ctx context.Context, one *callback, change step) {
	defer func() {
		if v := recover(); v != nil {
			c.watch.recordPanic(ctx, v, debug.Stack())
		}
	}()
	one.call(change.old.value, change.new.value)
}
