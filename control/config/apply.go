package config

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
)

// set says for each source whether its latest documents are taken.
type set []bool

// apply makes the best configuration that can be made: of the latest documents of all sources; else of those of all but one;
// else of those of one and the accepted ones of the others. It needs a configuration in force. c.mu is held.
func (c *Config[T]) apply(ctx context.Context) {
	all := c.knownSet()
	var dirty []int
	for i, s := range c.states {
		if s.known && !(s.inForce && same(s.latest, s.accepted)) {
			dirty = append(dirty, i)
		}
	}
	if len(dirty) == 0 {
		c.settle(ctx, all, nil)
		return
	}
	var refused error
	for n, chosen := range candidates(all, dirty) {
		if !slices.ContainsFunc(dirty, func(i int) bool { return chosen[i] }) {
			continue // what is in force
		}
		next, out, err := c.compose(chosen)
		if n == 0 {
			refused = err
		}
		if err != nil {
			continue
		}
		c.settle(ctx, chosen, refused)
		c.swap(ctx, next, out)
		return
	}
	c.settle(ctx, make(set, len(all)), refused)
}

// candidates lists the sets that are tried, the most wanted first.
func candidates(all set, dirty []int) (list []set) {
	list = append(list, all)
	for _, i := range dirty {
		but := slices.Clone(all)
		but[i] = false
		list = append(list, but)
	}
	if len(dirty) > 2 {
		for _, i := range dirty {
			only := slices.Clone(all)
			for _, other := range dirty {
				only[other] = other == i
			}
			list = append(list, only)
		}
	}
	if len(dirty) > 1 {
		none := slices.Clone(all)
		for _, i := range dirty {
			none[i] = false
		}
		list = append(list, none)
	}
	return list
}

func same(a, b []tree) bool {
	return slices.EqualFunc(a, b, func(x, y tree) bool {
		return x.name == y.name && x.version == y.version && bytes.Equal(x.digest, y.digest) && (x.digest != nil || reflect.DeepEqual(x.values, y.values))
	})
}

// compose builds the configuration of a set.
func (c *Config[T]) compose(chosen set) (*Snapshot[T], built, error) {
	next := &Snapshot[T]{Applied: time.Now()}
	var sources []sourced
	for i, s := range c.states {
		one := sourced{source: s.name, lenient: s.lenient}
		switch {
		case chosen[i]:
			one.trees = s.latest
		case s.inForce:
			one.trees = s.accepted
		}
		sources = append(sources, one)
	}
	out, err := c.builder.build(sources, &next.Value)
	next.root, next.hidden, next.Fingerprint, next.Version = out.root, out.hidden, out.fingerprint, out.version
	return next, out, err
}

// settle notes which sources are in force, and which were refused and why. c.mu is held.
func (c *Config[T]) settle(ctx context.Context, chosen set, refused error) {
	for i, s := range c.states {
		switch {
		case chosen[i]:
			s.accepted, s.inForce, s.lastGood = s.latest, true, time.Time{}
			if s.lost == nil {
				c.relief(ctx, s.name)
			}
		case s.known && refused != nil && !(s.inForce && same(s.latest, s.accepted)):
			c.trouble(ctx, Problem{Source: s.name, Err: faultsOf(s.name, refused), Since: time.Now(), Rejected: true, LastGood: s.lastGood})
		}
	}
}

// faultsOf returns those errors that a source is to blame for, or all if it is named by none.
func faultsOf(source string, err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var its []error
	for _, one := range joined.Unwrap() {
		var e *Error
		if errors.As(one, &e) && e.Source == source {
			its = append(its, one)
		}
	}
	if len(its) == 0 {
		return err
	}
	return errors.Join(its...)
}

// swap puts a snapshot into force. c.mu is held.
func (c *Config[T]) swap(ctx context.Context, next *Snapshot[T], out built) {
	before := c.current.Load()
	change := Change[T]{New: next}
	var old []attribute.KeyValue
	next.Serial = 1
	if before != nil {
		next.Serial = before.Serial + 1
		change.Old, change.Keys = before, changedKeys(&before.Value, &next.Value)
		old = before.Attributes()
	}
	c.current.Store(next)
	c.watch.ignored(ctx, fresh(c.warnings, out.warnings))
	c.warnings = out.warnings
	c.watch.took(ctx, old, next.Attributes(), change.Keys)
	c.save(ctx)
	close(c.changed)
	c.changed = make(chan struct{})
	if before != nil {
		c.pending = append(c.pending, change)
	}
}

// fresh returns the warnings that were not there before.
func fresh(before, now []error) (all []error) {
	for _, warning := range now {
		if !slices.ContainsFunc(before, func(e error) bool { return e.Error() == warning.Error() }) {
			all = append(all, warning)
		}
	}
	return all
}
