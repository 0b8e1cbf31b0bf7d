package config

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/go-os/go-os/control/config/internal/document"
	"go.opentelemetry.io/otel/attribute"
)

// set has, for each source, whether its latest documents are used.
type set []bool

// decision is the outcome of a change of the sources.
type decision struct {
	chosen   set       // the sources whose latest documents are used
	parts    parts     // sources of which only a part is used
	refused  error     // why not all latest documents are used
	next     *revision // nil: the current revision stays in force
	warnings []error
}

// parts has the documents to use for sources whose latest documents are used only in part.
type parts map[int][]document.Tree

// apply puts the best valid configuration into force. It tries, in this order, the latest documents of
//   - all sources,
//   - all sources without the invalid variables and flags,
//   - all sources but one,
//   - one source, with the accepted documents of the others.
//
// There must be a configuration in force. The caller holds c.applying, but not c.mu, since checks are foreign code and may be slow.
func (c *core) apply(ctx context.Context) {
	all := c.knownSet()
	var dirty []int
	for i, s := range c.states {
		if s.known && !(s.inForce && same(s.latest, s.accepted)) {
			dirty = append(dirty, i)
		}
	}
	if len(dirty) == 0 {
		c.commit(ctx, decision{chosen: all})
		return
	}
	var refused error
	for n, chosen := range candidates(all, dirty) {
		if !slices.ContainsFunc(dirty, func(i int) bool { return chosen[i] }) {
			continue // already in force
		}
		next, out, err := c.compose(chosen, nil)
		if n == 0 {
			if refused = err; c.applyParts(ctx, dirty, refused) {
				return
			}
		}
		if err != nil {
			continue
		}
		c.commit(ctx, decision{chosen: chosen, refused: refused, next: next, warnings: out.Warnings})
		return
	}
	c.commit(ctx, decision{chosen: make(set, len(all)), refused: refused})
}

// applyParts applies all documents except those of fixed sources that an error names, so that an invalid variable does not block the
// others. It returns false if the result is not new or not valid.
func (c *core) applyParts(ctx context.Context, dirty []int, refused error) bool {
	chosen, taken := c.knownSet(), parts{}
	for _, i := range dirty {
		s := c.states[i]
		rest := s.without(refused)
		if !s.static || same(rest, s.latest) {
			continue
		}
		if chosen[i] = !same(rest, s.accepted); chosen[i] {
			taken[i] = rest
		}
	}
	if len(taken) == 0 {
		return false
	}
	next, out, err := c.compose(chosen, taken)
	if err != nil {
		return false
	}
	c.commit(ctx, decision{chosen: chosen, parts: taken, refused: refused, next: next, warnings: out.Warnings})
	return true
}

// without returns the latest documents of the source, with the accepted ones in place of those that an error names.
func (s *state) without(err error) (rest []document.Tree) {
	bad := map[string]bool{}
	document.EachError(err, func(one error) {
		if e, ok := one.(*Error); ok && e.Source == s.name {
			bad[e.Document] = true
		}
	})
	for _, t := range s.latest {
		if !bad[t.Name] {
			rest = append(rest, t)
			continue
		}
		for _, before := range s.accepted {
			if before.Name == t.Name {
				rest = append(rest, before)
			}
		}
	}
	return rest
}

// candidates returns the sets to try, the best first.
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

func same(a, b []document.Tree) bool {
	return slices.EqualFunc(a, b, func(x, y document.Tree) bool {
		return x.Name == y.Name && x.Version == y.Version && bytes.Equal(x.Digest, y.Digest) && (x.Digest != nil || reflect.DeepEqual(x.Values, y.Values))
	})
}

// compose builds the configuration of a set.
func (c *core) compose(chosen set, taken parts) (*revision, document.Result, error) {
	next := c.newRevision()
	next.applied = time.Now()
	var sources []document.Input
	for i, s := range c.states {
		one := document.Input{Source: s.name, Suggest: s.suggest}
		switch {
		case taken[i] != nil:
			one.Trees = taken[i]
		case chosen[i]:
			one.Trees = s.latest
		case s.inForce:
			one.Trees = s.accepted
		}
		sources = append(sources, one)
	}
	out, err := c.builder.Build(sources, next.value)
	next.origins, next.fingerprint, next.version = out.Origins, out.Fingerprint, out.Version
	return next, out, err
}

// commit puts a decision into force, atomically for readers.
func (c *core) commit(ctx context.Context, d decision) {
	problems := c.rejections(d)
	var change step
	var ignored []error
	if d.next != nil {
		change = c.changeTo(d.next)
		ignored = fresh(c.warnings, d.warnings)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, s := range c.states {
		if !d.chosen[i] {
			continue
		}
		s.accepted, s.inForce, s.lastGood = s.latest, true, time.Time{}
		if d.parts[i] != nil {
			s.accepted = d.parts[i]
		} else if s.lost == nil {
			c.removeProblem(ctx, s.name)
		}
	}
	for _, p := range problems {
		c.addProblem(ctx, p)
	}
	if d.next != nil {
		c.warnings = d.warnings
		c.swap(context.WithoutCancel(ctx), change, ignored)
	}
}

// rejections returns a problem for each source whose latest documents were rejected.
func (c *core) rejections(d decision) (all []*Problem) {
	if d.refused == nil {
		return nil
	}
	for i, s := range c.states {
		if d.chosen[i] && d.parts[i] == nil || !s.known || s.inForce && same(s.latest, s.accepted) {
			continue
		}
		p := newProblem(s.name, faultsOf(s.name, d.refused), true)
		p.LastGood = s.lastGood
		all = append(all, p)
	}
	return all
}

// faultsOf returns the errors that name a source, or all if none does.
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

// step is a Change without its type parameter.
type step struct {
	old, new *revision // old is nil at first
	keys     []string
}

// changeTo returns the step from the configuration in force to the next.
func (c *core) changeTo(next *revision) step {
	change := step{new: next, old: c.current.Load()}
	next.serial = 1
	if change.old != nil {
		next.serial = change.old.serial + 1
		change.keys = document.ChangedKeys(change.old.value, next.value)
	}
	next.seal()
	return change
}

// swap puts the new revision of a step into force. The caller holds c.mu.
func (c *core) swap(ctx context.Context, change step, ignored []error) {
	c.current.Store(change.new)
	close(c.changed)
	c.changed = make(chan struct{})
	c.events.add(func() {
		c.watch.recordIgnored(ctx, ignored)
		c.watch.recordApplied(ctx, change.attributes(), change.new.attributes(), change.keys)
	})
	if change.old != nil {
		c.calls.add(func() { c.callBack(ctx, change) })
	}
	c.save(ctx)
}

// attributes returns the attributes of the old configuration, or nil if there is none.
func (s step) attributes() []attribute.KeyValue {
	if s.old == nil {
		return nil
	}
	return s.old.attributes()
}

// fresh returns the warnings about places that had no warning before.
func fresh(before, now []error) (all []error) {
	type where struct{ source, document, key string }
	known := map[where]bool{}
	placeOf := func(warning error) (p where) {
		var e *Error
		if errors.As(warning, &e) {
			p = where{e.Source, e.Document, e.Key}
		}
		return p
	}
	for _, warning := range before {
		known[placeOf(warning)] = true
	}
	for _, warning := range now {
		if !known[placeOf(warning)] {
			all = append(all, warning)
		}
	}
	return all
}
