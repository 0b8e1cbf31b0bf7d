package dnsdiscovery

import (
	"context"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
)

// watch is the state of one call of Registry.Watch.
type watch struct {
	questions
	service string
	parts   []*part // by protocol

	shown   state  // the last events passed to emit
	began   bool   // there has been a resync
	synced  bool   // the last event about the watch itself was EventSynced
	failure string // of the last EventLost
}

// state is the state of a service in DNS.
type state struct {
	records map[string]driver.Record // by ID
	invalid map[string]error         // why records cannot be used, by ID; an instance that was valid before is also in records
}

// questions are the questions of a watch. Their answers are applied by the goroutine of the watch.
type questions struct {
	registry *Registry
	current  *round // shared by the questions of one pass; nil before the first
	answers  chan func()
	asked    int // under way
}

// ask asks a question in the background if it is due and not under way.
func (q *questions) ask(ctx context.Context, c *cached, question func(context.Context, *round) (answer, error), take func(*Options, answer, error)) {
	if c.asking || time.Now().Before(c.due) {
		return
	}
	if q.current == nil {
		q.current = q.registry.round()
	}
	c.asking = true
	q.asked++
	r := q.current
	go func() {
		a, err := question(ctx, r)
		q.answers <- func() {
			c.asking = false
			q.asked--
			take(r.opts, a, err)
		}
	}()
}

// finish waits for the questions under way, whose context has ended.
func (q *questions) finish() {
	for q.asked > 0 {
		(<-q.answers)()
	}
}

// run asks questions and reports the answers until ctx ends.
func (w *watch) run(ctx context.Context, emit func(driver.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer w.finish()
	defer cancel()
	for {
		w.refresh(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := w.report(emit); err != nil {
			return err
		}
	}
}

// refresh asks questions as they become due. It returns when there are answers to report: all of them, or those within half of
// Options.Timeout after the first one.
func (w *watch) refresh(ctx context.Context) {
	var late <-chan time.Time
	for {
		w.current = nil
		for _, p := range w.parts {
			p.refresh(ctx, &w.questions)
		}
		if late != nil && w.asked == 0 {
			return
		}
		select {
		case apply := <-w.answers:
			apply()
			if late == nil {
				late = time.After(w.registry.opts.Timeout / 2)
			}
		case <-late:
			return
		case <-w.due():
		case <-ctx.Done():
			return
		}
	}
}

// due returns a channel that receives when the next question is due. It is nil if all are under way.
func (w *watch) due() <-chan time.Time {
	var next time.Time
	for _, p := range w.parts {
		for c := range p.all {
			if !c.asking && (next.IsZero() || c.due.Before(next)) {
				next = c.due
			}
		}
	}
	if next.IsZero() {
		return nil
	}
	return time.After(time.Until(next))
}

// unanswered reports whether a question has not been answered yet, not even by an error.
func (w *watch) unanswered() bool {
	return slices.ContainsFunc(w.parts, func(p *part) bool {
		for c := range p.all {
			if c.unanswered() {
				return true
			}
		}
		return false
	})
}

// report emits the changes.
func (w *watch) report(emit func(driver.Event) error) error {
	now, err := w.state(), w.err()
	var events []driver.Event
	switch {
	case !w.synced && err == nil && !w.unanswered(), !w.began && len(now.records) > 0: // at first, a part of the answer is better than none
		events = w.snapshot(now)
		w.began, w.synced, w.failure = true, true, ""
	case w.began:
		events = append(w.removals(now), w.additions(now)...)
	}
	if err != nil && w.failure != err.Error() {
		events = append(events, driver.Event{Kind: driver.EventLost, Err: err})
		w.synced, w.failure = false, err.Error()
	}
	if w.began {
		w.shown = now
	}
	for _, e := range events {
		if err := emit(e); err != nil {
			return err
		}
	}
	return nil
}

// snapshot returns the events of a resync. If DNS explicitly has no instance, a goodbye makes the service known.
func (w *watch) snapshot(now state) []driver.Event {
	events := append(w.removals(now), driver.Event{Kind: driver.EventResync})
	w.shown = state{}
	if len(now.records) == 0 && slices.ContainsFunc(w.parts, (*part).gone) {
		events = append(events, goodbye(w.placeholder("."))...)
	}
	return append(append(events, w.additions(now)...), driver.Event{Kind: driver.EventSynced})
}

// err returns why a question has failed, if one has.
func (w *watch) err() error {
	for _, p := range w.parts {
		if err := p.err(); err != nil {
			return err
		}
	}
	return nil
}

// state returns the present state of DNS. While a question has not been answered yet, records that are shown stay.
func (w *watch) state() state {
	s := state{records: map[string]driver.Record{}, invalid: map[string]error{}}
	for _, p := range w.parts {
		for _, e := range p.endpoints() {
			w.add(s, p.protocol, e)
		}
	}
	if w.unanswered() {
		s.keep(w.shown)
	}
	return s
}

// keep adds the records of another state, unless there is one with their ID.
func (s state) keep(other state) {
	for id, err := range other.invalid {
		if s.has(id) {
			continue
		}
		s.invalid[id] = err
		if r, ok := other.records[id]; ok {
			s.records[id] = r
		}
	}
	for id, r := range other.records {
		if !s.has(id) {
			s.records[id] = r
		}
	}
}

// add puts an endpoint into the state. Protocols of one ID are one instance.
func (w *watch) add(s state, protocol string, e endpoint) {
	if e.err != nil {
		s.invalid[e.id] = e.err
	}
	if e.address == "" {
		return
	}
	r, ok := s.records[e.id]
	if !ok {
		r.Instance = driver.Instance{Service: w.service, ID: e.id, Weight: e.weight, Labels: e.labels, Addresses: map[string]string{}}
	}
	r.Addresses[protocol] = e.address
	s.records[e.id] = r
}

// removals returns the events of records that are shown and no longer exist. Removals explicit in DNS become goodbyes.
func (w *watch) removals(now state) (events []driver.Event) {
	gone := map[string]bool{}
	for _, p := range w.parts {
		gone[p.protocol] = p.gone()
	}
	for _, id := range slices.Sorted(maps.Keys(w.shown.records)) {
		if _, ok := now.records[id]; ok {
			continue
		}
		r := w.shown.records[id]
		if all(maps.Keys(r.Addresses), func(protocol string) bool { return gone[protocol] }) {
			events = append(events, goodbye(r)...)
		} else {
			events = append(events, driver.Event{Kind: driver.EventDelete, Record: w.placeholder(id)})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.shown.invalid)) {
		if !now.has(id) && w.shown.records[id].ID == "" {
			events = append(events, driver.Event{Kind: driver.EventDelete, Record: w.placeholder(id)})
		}
	}
	return events
}

// goodbye returns the events of an instance's goodbye. Its record does not stay.
func goodbye(r driver.Record) []driver.Event {
	r.State = driver.Gone
	return []driver.Event{{Kind: driver.EventPut, Record: r}, {Kind: driver.EventDelete, Record: r}}
}

// all reports whether every value meets a condition.
func all(values iter.Seq[string], condition func(string) bool) bool {
	for v := range values {
		if !condition(v) {
			return false
		}
	}
	return true
}

// has reports whether there is a record with an ID, valid or not.
func (s state) has(id string) bool { return s.records[id].ID != "" || s.invalid[id] != nil }

// additions returns the events of new and changed instances. An invalid record stays as it was shown when it was valid.
func (w *watch) additions(now state) (events []driver.Event) {
	for _, id := range slices.Sorted(maps.Keys(now.records)) {
		if now.invalid[id] != nil {
			continue
		}
		shown, known := w.shown.records[id]
		if !known || w.shown.invalid[id] != nil || !same(shown, now.records[id]) {
			events = append(events, driver.Event{Kind: driver.EventPut, Record: now.records[id]})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(now.invalid)) {
		removed := w.shown.records[id].ID != "" && now.records[id].ID == ""
		if shown := w.shown.invalid[id]; shown == nil || removed || shown.Error() != now.invalid[id].Error() {
			events = append(events, driver.Event{Kind: driver.EventInvalid, Record: w.placeholder(id), Err: now.invalid[id]})
		}
	}
	return events
}

// placeholder returns a record that has only an ID.
func (w *watch) placeholder(id string) driver.Record {
	return driver.Record{Instance: driver.Instance{Service: w.service, ID: id}}
}

// same reports whether two records of one ID are alike.
func same(a, b driver.Record) bool {
	return a.Weight == b.Weight && maps.Equal(a.Addresses, b.Addresses) && maps.Equal(a.Labels, b.Labels)
}
