package config

import (
	"context"
	"fmt"
	"iter"
	"reflect"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
)

// Change is a step from one configuration to another.
type Change[T any] struct {
	// Old and New are the configurations before and after.
	Old, New *Snapshot[T]
	// Keys are the paths whose values changed, in order. A list is one value. It is empty if only the sources changed, and not
	// what they say.
	Keys []string
}

// Touches reports whether the value at a path, or one below it, changed. Every change touches the path "".
func (c Change[T]) Touches(path string) bool {
	return path == "" || slices.ContainsFunc(c.Keys, func(k string) bool { return below(k, path) || below(path, k) })
}

// below reports whether a path is another, or lies in it.
func below(path, other string) bool {
	rest, ok := strings.CutPrefix(path, other)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// Changes returns the changes since the call, until ctx ends. A loop that is slower than the changes sees several of them as one,
// from the state that it saw last to the newest. A second loop over the same result begins at the call again.
func (c *Config[T]) Changes(ctx context.Context) iter.Seq[Change[T]] {
	first := c.current.Load()
	return func(yield func(Change[T]) bool) {
		seen := first
		for {
			c.mu.Lock()
			changed, now := c.changed, c.current.Load()
			c.mu.Unlock()
			if now != seen {
				change := Change[T]{Old: seen, New: now, Keys: changedKeys(&seen.Value, &now.Value)}
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

// callback is a function that was given to OnChange.
type callback[T any] struct {
	path string
	call func(old, new *T)
}

// OnChange has fn called after every change of the value at a path, such as "limits" or "prices.lamp", or below it; "" means
// every change. Calls are made one at a time, in the order of the changes and then of the registrations, by whoever made the
// change: Run or Reload. What fn does for long delays those after it, not Get. A panic is contained, and told as an event.
// ErrInvalid says that the type has no such path; a key of a map need not be there yet. The function that is returned ends the
// calls.
func (c *Config[T]) OnChange(path string, fn func(old, new *T)) (stop func(), err error) {
	if err := hasPath(reflect.TypeFor[T](), path); err != nil {
		return func() {}, err
	}
	one := &callback[T]{path: path, call: fn}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.callbacks = append(c.callbacks, one)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.callbacks = slices.DeleteFunc(slices.Clone(c.callbacks), func(other *callback[T]) bool { return other == one })
	}, nil
}

// deliver does what changes have left to do: telemetry, callbacks, the last-good file. The caller must hold no locks. Each outbox
// keeps its own order, so that a callback that takes long does not delay the log.
func (c *Config[T]) deliver() {
	c.events.run()
	c.calls.run()
	c.writes.run()
	c.events.run() // of a file that could not be written
}

// callBack calls the functions that a change concerns.
func (c *Config[T]) callBack(ctx context.Context, change Change[T]) {
	c.mu.Lock()
	callbacks := c.callbacks // replaced, never changed in place
	c.mu.Unlock()
	for _, one := range callbacks {
		if change.Touches(one.path) {
			c.call(ctx, one, change)
		}
	}
}

func (c *Config[T]) call(ctx context.Context, one *callback[T], change Change[T]) {
	defer func() {
		if v := recover(); v != nil {
			c.watch.panicked.EmitPanic(ctx, v, debug.Stack(), c.watch.attrs...)
		}
	}()
	one.call(&change.Old.Value, &change.New.Value)
}

// hasPath reports why a type cannot have a path.
func hasPath(t reflect.Type, path string) error {
	for whole := path; path != ""; {
		part, rest := firstPart(path)
		t = indirect(t)
		switch shapeOf(t) {
		case object:
			fields := fieldsOf(t)
			i := slices.IndexFunc(fields, func(f field) bool { return f.name == part })
			if i < 0 {
				hint := ""
				if meant := suggest(part, t); meant != "" {
					hint = fmt.Sprintf("; did you mean %s?", meant)
				}
				return &Error{Key: whole, Err: fmt.Errorf("%w: %s has no key %s%s", ErrInvalid, t, part, hint)}
			}
			t = fields[i].typ
		case table:
			t = t.Elem()
		case anything:
			return nil
		default:
			return &Error{Key: whole, Err: fmt.Errorf("%w: there is nothing below a %s; the elements of a list cannot be followed one by one", ErrInvalid, t)}
		}
		path = rest
	}
	return nil
}

// firstPart cuts a path at its first dot that is not within quotes.
func firstPart(path string) (part, rest string) {
	if strings.HasPrefix(path, `"`) {
		if quoted, err := strconv.QuotedPrefix(path); err == nil {
			part, _ = strconv.Unquote(quoted)
			return part, strings.TrimPrefix(path[len(quoted):], ".")
		}
	}
	part, rest, _ = strings.Cut(path, ".")
	return part, rest
}

// changedKeys returns the paths that differ.
func changedKeys(a, b any) []string {
	v := reflect.ValueOf(a).Elem()
	all := appendChanged(nil, v, reflect.ValueOf(b).Elem(), place{typ: v.Type()})
	slices.Sort(all)
	return all
}

func appendChanged(all []string, a, b reflect.Value, at place) []string {
	t := a.Type()
	if t.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil() {
		return appendChanged(all, a.Elem(), b.Elem(), at)
	}
	switch {
	case t.Kind() != reflect.Pointer && shapeOf(t) == object:
		for _, f := range fieldsOf(t) {
			all = appendChanged(all, a.FieldByIndex(f.index), b.FieldByIndex(f.index), at.field(f))
		}
		return all
	case t.Kind() == reflect.Map && shapeOf(t) == table && !at.hidden: // the keys of a secret are secret too
		return appendChangedMap(all, a, b, at)
	case equal(a, b):
		return all
	default:
		return append(all, at.path)
	}
}

func appendChangedMap(all []string, a, b reflect.Value, at place) []string {
	elem := a.Type().Elem()
	for it := a.MapRange(); it.Next(); {
		key, x, y := it.Key(), it.Value(), b.MapIndex(it.Key())
		switch {
		case !y.IsValid():
			all = append(all, at.entry(key.String(), elem).path)
		case !equal(x, y):
			all = appendChanged(all, x, y, at.entry(key.String(), elem))
		}
	}
	for it := b.MapRange(); it.Next(); {
		if !a.MapIndex(it.Key()).IsValid() {
			all = append(all, at.entry(it.Key().String(), elem).path)
		}
	}
	return all
}

// equal is reflect.DeepEqual, in less time for values that == can compare.
func equal(a, b reflect.Value) bool {
	return a.Comparable() && b.Comparable() && a.Equal(b) || reflect.DeepEqual(a.Interface(), b.Interface())
}
