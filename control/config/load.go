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

// state is the state of one source.
type state struct {
	Source   // without Required around it
	name     string
	required bool
	suggest  func(string) string // of a driver.Suggester, whose unknown keys are warnings
	static   bool                // a driver.Fixed, which the last-good file does not keep

	reading turn          // one read at a time, so that an older read cannot overtake a newer one
	busy    turn          // held while the source or the parser runs, even if abandoned
	last    *parsed       // the result of the latest read; guarded by busy
	news    chan struct{} // something new to report to the source

	// Written under both core.applying and core.mu, so that either suffices for reading.
	latest   []document.Tree // the documents last read
	known    bool            // latest is valid
	accepted []document.Tree // the documents in force
	inForce  bool            // accepted is in force
	lastGood time.Time

	// Guarded by core.mu.
	lost     error // why the source is out of reach, or nil
	failures int   // consecutive reads that have returned an error
}

// Load reads the sources and returns the merged configuration. It returns ErrInvalid if the type or the options cannot work. If a source is
// invalid, the error has all mistakes of all sources. While a value does not fit its type, rules about it or about other fields are not
// checked, and no Validate method is called. A source that cannot be reached is left out, unless it is [Required] or
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

// parsed is a set of documents and the outcome of parsing them.
type parsed struct {
	docs []driver.Document
	outcome
}

// outcome is the result of reading a source.
type outcome struct {
	trees  []document.Tree
	err    error
	unread bool // the source returned err; otherwise a document is invalid
}

// readAll reads sources concurrently. It records nothing.
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

// readOne reads and parses a source within Options.Timeout. It abandons a source or a parser that ignores the context. The next read waits
// for the abandoned one, so that a source never has more than one such goroutine.
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

// late returns the outcome of a read that exceeded its timeout.
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

// sameDocument reports whether two documents are equal.
func sameDocument(a, b driver.Document) bool {
	return a.Name == b.Name && a.Format == b.Format && a.Version == b.Version && (a.Data == nil) == (b.Data == nil) &&
		bytes.Equal(a.Data, b.Data) && (a.Data != nil || reflect.DeepEqual(a.Tree, b.Tree))
}

// parse parses the documents of the source until ctx ends.
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

// blame adds the name of the source to an error.
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

// first builds the first configuration from what was read and what was saved. An invalid source is an error: a typo must not start a
// service on its defaults. A source that is out of reach is replaced by its saved documents, or left out. No other goroutine has c yet.
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

// note records the outcomes of reads. The caller holds c.applying.
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
			c.addProblem(ctx, p)
			s.known = false // its accepted documents stay in force
			continue
		}
		s.latest, s.known = o.trees, true
	}
}

// standIn replaces a source that is out of reach by its saved documents. It returns the failure of the source, joined with that of the
// file.
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
	c.addProblem(ctx, p)
	return err
}

// start puts the first configuration into force. It consists of all sources that were read. The saved documents of other sources are used
// only if they are valid together with those.
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

// forget discards the saved documents of the sources that an error names, and reports whether there were any.
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

// names reports whether an error, or one that it wraps, names a source.
func names(err error, source string) (found bool) {
	document.EachError(err, func(one error) {
		if e, ok := one.(*Error); ok && e.Source == source {
			found = true
		}
	})
	return found
}

// otherFaults returns the mistakes of the sources that were read when another source is missing. It omits mistakes that name no source,
// since the missing source may be their cause.
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

// lacks reports whether a set lacks a required source.
func (c *core) lacks(chosen set) bool {
	for i, s := range c.states {
		if s.required && !s.inForce && !chosen[i] {
			return true
		}
	}
	return false
}

// knownSet returns the set of sources that were read.
func (c *core) knownSet() set {
	all := make(set, len(c.states))
	for i, s := range c.states {
		all[i] = s.known
	}
	return all
}

// rejects reports whether an error means that a source was read and is invalid, rather than out of reach.
func rejects(err error) bool {
	return errors.Is(err, ErrSyntax) || errors.Is(err, ErrInvalid) || errors.Is(err, ErrTooLarge)
}

// read reads sources and applies their changes.
func (c *core) read(ctx context.Context, which []int) {
	if c.take(ctx, which) {
		c.notifySources()
		c.deliver()
	}
}

// take is read without the delivery. It returns false if ctx has ended, since that may be why a read failed.
func (c *core) take(ctx context.Context, which []int) bool {
	for _, i := range which { // in the order of the sources, so that two calls cannot deadlock
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
	c.apply(ctx) // its errors are in the problems
	return true
}
