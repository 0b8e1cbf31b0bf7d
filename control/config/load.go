package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/config/internal/document"
	"github.com/go-os/go-os/control/config/internal/scope"
)

// Required makes Load fail if the source cannot be reached and Options.LastGood has no state of it. Without Required, Load leaves such a
// source out. An invalid source always makes Load fail.
func Required(s Source) Source { return required{s} }

type required struct{ Source }

// state is what is known about a source.
type state struct {
	Source   // without Required around it
	name     string
	required bool
	suggest  func(string) string // of a driver.Suggester: unknown keys are warnings
	static   bool                // what the process is given: not kept in the last-good file

	reading turn          // one read at a time: an older one must not overtake a newer one
	busy    turn          // taken while the source or the parser works, also if nobody waits for it any more
	last    *parsed       // what the latest read led to; the turn busy guards it
	news    chan struct{} // there is something else to report to the source

	// Written with both Config.applying and Config.mu, so that either suffices to read them.
	latest   []document.Tree // as last read
	known    bool            // latest was read at all
	accepted []document.Tree // part of the configuration in force
	inForce  bool            // accepted counts
	lastGood time.Time

	// Config.mu guards these.
	lost     error // why the source is out of reach
	failures int   // reads in a row that have returned an error
}

// Load reads the sources and returns the merged configuration. It returns ErrInvalid if the type or the options cannot work. If a source is
// invalid, the error has all mistakes of all sources. As long as a value does not fit its type, rules about it or about other fields are
// not checked, and no method Validate is called. A source that cannot be reached is left out, unless it is [Required] or
// Options.LastGood has its last good state. Load starts no goroutine; Run follows the sources.
func Load[T any](ctx context.Context, opts *Options) (*Config[T], error) {
	c, err := newCore(ctx, reflect.TypeFor[T](), newRevision[T], opts)
	if err != nil {
		return nil, err
	}
	return &Config[T]{c}, nil
}

// newCore loads a configuration of a type; newRevision returns an empty one.
func newCore(ctx context.Context, t reflect.Type, newRevision func() *revision, opts *Options) (*core, error) {
	withDefaults, invalid := opts.withDefaults()
	c := &core{
		opts: withDefaults, newRevision: newRevision, problems: map[string]*Problem{}, changed: make(chan struct{}),
		applying: newTurn(), disk: newTurn(), noticed: make(chan struct{}, 1),
	}
	c.watch = newWatchers(c.opts.Name, c.opts.Telemetry)
	err := scope.Observe(ctx, c.watch.load, "", func(ctx context.Context) error {
		if invalid != nil {
			return &Error{Err: invalid}
		}
		return c.load(ctx, t)
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *core) load(ctx context.Context, t reflect.Type) (err error) {
	if c.builder, err = document.NewBuilder(t, c.opts.AllowUnknown); err != nil {
		return err
	}
	if c.states, err = newStates(c.opts.Sources, c.builder.Type); err != nil {
		return err
	}
	saved := c.recall(ctx)
	outcomes := c.readAll(ctx, c.every())
	if err := ctx.Err(); err != nil {
		return &Error{Err: err}
	}
	if err := c.first(ctx, outcomes, saved); err != nil {
		return err
	}
	c.deliver()
	return nil
}

func (c *core) every() []int {
	all := make([]int, len(c.states))
	for i := range all {
		all[i] = i
	}
	return all
}

func newStates(sources []Source, t reflect.Type) ([]*state, error) {
	var all []*state
	names := map[string]bool{}
	for i, s := range sources {
		st := &state{Source: s, reading: newTurn(), busy: newTurn(), news: make(chan struct{}, 1)}
		for r, ok := s.(required); ok; r, ok = r.Source.(required) {
			st.Source, st.required = r.Source, true
		}
		if st.Source == nil {
			return nil, &Error{Err: fmt.Errorf("%w: Options.Sources[%d] is nil", ErrInvalid, i)}
		}
		if k, ok := st.Source.(driver.Keyed); ok {
			bound, err := k.Bind(document.KeysOf(t))
			if err != nil {
				return nil, &Error{Source: s.Name(), Err: err}
			}
			st.Source = bound
		}
		_, st.static = st.Source.(driver.Fixed)
		if n, ok := st.Source.(driver.Suggester); ok {
			st.suggest = n.Suggest
		}
		st.name = st.Name()
		for n := 2; names[st.name]; n++ {
			st.name = fmt.Sprintf("%s (%d)", st.Name(), n)
		}
		names[st.name] = true
		all = append(all, st)
	}
	return all, nil
}

// parsed are documents and what their text means.
type parsed struct {
	docs []driver.Document
	outcome
}

// outcome is what came of reading a source.
type outcome struct {
	trees  []document.Tree
	err    error
	unread bool // the source returned err; else a document is not what it should be
}

// readAll reads sources side by side, and notes nothing.
func (c *core) readAll(ctx context.Context, which []int) map[int]outcome {
	outcomes := make([]outcome, len(which))
	var group sync.WaitGroup
	for n, i := range which {
		group.Go(func() { outcomes[n] = c.readOne(ctx, c.states[i]) })
	}
	group.Wait()
	all := map[int]outcome{}
	for n, i := range which {
		all[i] = outcomes[n]
	}
	return all
}

// readOne reads and parses a source within Options.Timeout. A source or a parser that does not obey the context is left to itself:
// the next read waits until it has come to its end, so that no more than one goroutine of a source is ever left behind.
func (c *core) readOne(ctx context.Context, s *state) (o outcome) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	read := func(ctx context.Context) error {
		var ok bool
		if o, ok = inTime(ctx, s.busy, func() outcome { return s.fetch(ctx) }); !ok {
			o = s.late(ctx, "reading takes too long")
		}
		return o.err
	}
	if s.static { // no I/O
		_ = read(ctx)
		return o
	}
	_ = scope.Observe(ctx, c.watch.read, s.name, read) // the error is in the outcome
	return o
}

// late is the outcome of a read that did not end in time.
func (s *state) late(ctx context.Context, why string) outcome {
	return outcome{err: &Error{Source: s.name, Err: fmt.Errorf("%w: %s: %w", ErrUnavailable, why, ctx.Err())}, unread: true}
}

// fetch reads and parses the source.
func (s *state) fetch(ctx context.Context) (o outcome) {
	defer func() {
		if v := recover(); v != nil {
			o = outcome{err: &Error{Source: s.name, Err: fmt.Errorf("%w: the source panicked: %v", ErrUnavailable, v)}, unread: true}
		}
	}()
	docs, err := s.Read(ctx)
	if err != nil {
		return outcome{err: s.blame(err), unread: true}
	}
	if s.last == nil || !slices.EqualFunc(s.last.docs, docs, sameDocument) {
		if o = s.parse(ctx, docs); ctx.Err() != nil {
			return o
		}
		s.last = &parsed{docs, o}
	}
	return s.last.outcome
}

// sameDocument reports whether two documents say the same.
func sameDocument(a, b driver.Document) bool {
	return a.Name == b.Name && a.Format == b.Format && a.Version == b.Version && (a.Data == nil) == (b.Data == nil) &&
		bytes.Equal(a.Data, b.Data) && (a.Data != nil || reflect.DeepEqual(a.Tree, b.Tree))
}

// parse parses the documents of the source, as long as ctx has not ended.
func (s *state) parse(ctx context.Context, docs []driver.Document) (o outcome) {
	var errs []error
	for _, d := range docs {
		if ctx.Err() != nil {
			return s.late(ctx, "parsing takes too long")
		}
		t, err := document.Parse(d)
		if err != nil {
			errs = append(errs, s.blame(err))
		}
		o.trees = append(o.trees, t)
	}
	o.err = errors.Join(errs...)
	return o
}

// blame puts the source's name into an error.
func (s *state) blame(err error) error {
	named := false
	document.EachError(err, func(one error) {
		if e, ok := one.(*Error); ok {
			e.Source, named = s.name, true
		}
	})
	if named {
		return err
	}
	return &Error{Source: s.name, Err: err}
}

// first makes the first configuration, of what was read and what was saved. A source that is invalid fails it: a typo must not start
// a service on its defaults. A source that is out of reach is replaced by what was saved of it, or left out. Nobody else has c yet.
func (c *core) first(ctx context.Context, outcomes map[int]outcome, saved map[string]remembered) error {
	var invalid, away []error
	for i, s := range c.states {
		o := outcomes[i]
		switch {
		case o.err == nil:
			s.latest, s.known = o.trees, true
		case rejects(o.err):
			invalid = append(invalid, o.err)
			s.latest, s.known = o.trees, true // for otherFaults alone
		default:
			away = append(away, c.standIn(ctx, s, o.err, saved))
		}
	}
	if len(invalid) > 0 {
		return errors.Join(append(append(invalid, away...), c.otherFaults())...)
	}
	if c.lacks(c.knownSet()) {
		return errors.Join(append(away, c.otherFaults())...)
	}
	if err := c.start(ctx); err != nil {
		return errors.Join(append(away, err)...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, source := range slices.Sorted(maps.Keys(c.problems)) {
		c.reportProblem(ctx, c.problems[source])
	}
	return nil
}

// note records what came of reading sources. The caller has the turn c.applying.
func (c *core) note(ctx context.Context, outcomes map[int]outcome) {
	problems := map[int]*Problem{}
	for i, o := range outcomes {
		if o.err != nil {
			problems[i] = newProblem(c.states[i].name, o.err, rejects(o.err))
			problems[i].LastGood, problems[i].absent = c.states[i].lastGood, !c.states[i].inForce
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, o := range outcomes {
		s := c.states[i]
		if s.failures++; !o.unread {
			s.failures = 0
		}
		if p := problems[i]; p != nil {
			c.trouble(ctx, p)
			s.known = false // what it held before is in force, if it was accepted
			continue
		}
		s.latest, s.known = o.trees, true
	}
}

// standIn has the last-good file serve for a source that is out of reach. It returns why the source is, and why the file cannot serve.
func (c *core) standIn(ctx context.Context, s *state, err error, saved map[string]remembered) error {
	if bad := c.problems[lastGoodName]; bad != nil && !s.static {
		err = errors.Join(err, bad.Err)
	}
	if was, ok := saved[s.name]; ok && !s.static {
		s.accepted, s.inForce, s.lastGood = was.trees, true, was.time
	}
	p := newProblem(s.name, err, false)
	p.LastGood, p.absent = s.lastGood, !s.inForce
	c.mu.Lock()
	defer c.mu.Unlock()
	s.failures = 1
	c.trouble(ctx, p)
	return err
}

// start puts the first configuration into force. It is made of every source that was read. The saved documents of the other sources
// count only if they are valid with those.
func (c *core) start(ctx context.Context) error {
	chosen := c.knownSet()
	next, out, err := c.compose(chosen, nil)
	if err != nil && c.forget(err) && !c.lacks(chosen) {
		next, out, err = c.compose(chosen, nil)
	}
	if err != nil {
		return err
	}
	c.commit(ctx, decision{chosen: chosen, next: next, warnings: out.Warnings})
	return nil
}

// forget takes back what was saved of the sources that an error names, and reports whether there were any.
func (c *core) forget(err error) (any bool) {
	for _, s := range c.states {
		if s.known || !s.inForce || !names(err, s.name) {
			continue
		}
		s.accepted, s.inForce, s.lastGood, any = nil, false, time.Time{}, true
		refused := &Error{Source: s.name, Document: c.opts.LastGood, Err: fmt.Errorf("is not used: %w", faultsOf(s.name, err))}
		p := c.problems[s.name]
		p.Err, p.LastGood, p.absent = errors.Join(p.Err, refused), time.Time{}, true
		p.text = p.Err.Error()
	}
	return any
}

// names reports whether an error is the fault of a source.
func names(err error, source string) (found bool) {
	document.EachError(err, func(one error) {
		if e, ok := one.(*Error); ok && e.Source == source {
			found = true
		}
	})
	return found
}

// otherFaults returns what else is wrong, when a source already is: the mistakes of the sources that were read. What names no
// source may only be due to the one that is missing.
func (c *core) otherFaults() error {
	_, _, err := c.compose(c.knownSet(), nil)
	var errs []error
	document.EachError(err, func(one error) {
		if e, ok := one.(*Error); ok && e.Source != "" {
			errs = append(errs, e)
		}
	})
	return errors.Join(errs...)
}

// lacks reports whether a source that is required has no part in a set.
func (c *core) lacks(chosen set) bool {
	for i, s := range c.states {
		if s.required && !s.inForce && !chosen[i] {
			return true
		}
	}
	return false
}

// knownSet is the set of the sources that were read.
func (c *core) knownSet() set {
	all := make(set, len(c.states))
	for i, s := range c.states {
		all[i] = s.known
	}
	return all
}

// rejects tells a source that was read and is bad from one that could not be read.
func rejects(err error) bool {
	return errors.Is(err, ErrSyntax) || errors.Is(err, ErrInvalid) || errors.Is(err, ErrTooLarge)
}

// read reads sources and applies what they say.
func (c *core) read(ctx context.Context, which []int) {
	if c.take(ctx, which) {
		c.notifySources()
		c.deliver()
	}
}

// take does so, but delivers nothing. It returns false if ctx has ended: what failed may have failed for that.
func (c *core) take(ctx context.Context, which []int) bool {
	for _, i := range which { // in the order of the sources, so that two calls do not wait for each other
		if !c.states[i].reading.take(ctx) {
			return false
		}
		defer c.states[i].reading.release()
	}
	outcomes := c.readAll(ctx, which)
	if ctx.Err() != nil || !c.applying.take(ctx) {
		return false
	}
	defer c.applying.release()
	c.note(ctx, outcomes)
	c.apply(ctx) // what is wrong is in the problems
	return true
}
