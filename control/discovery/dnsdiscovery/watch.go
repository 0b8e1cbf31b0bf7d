package dnsdiscovery

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
)

// watch is the state of one call of Registry.Watch.
type watch struct {
	registry *Registry
	service  string
	parts    []*part // by protocol

	shown   state  // what emit was called with
	began   bool   // there has been a resync
	synced  bool   // the last event about the watch itself was EventSynced
	failure string // of the last EventLost
}

// state is what DNS says of a service.
type state struct {
	records map[string]driver.Record // by ID
	invalid map[string]error         // why records cannot be used, by ID; an instance that was valid before is also in records
}

// refresh asks all questions that are due, and returns when the next one is.
func (w *watch) refresh(ctx context.Context) (due time.Time) {
	r := w.registry.round()
	var work sync.WaitGroup
	for _, p := range w.parts {
		work.Go(func() { p.refresh(ctx, r) })
	}
	work.Wait()
	for _, p := range w.parts {
		if next := p.due(); due.IsZero() || next.Before(due) {
			due = next
		}
	}
	return due
}

// report emits what has changed.
func (w *watch) report(emit func(driver.Event) error) error {
	now, err := w.state(), w.err()
	var events []driver.Event
	switch {
	case !w.synced && (err == nil || !w.began && len(now.records) > 0): // at first, a part of the answer is better than none
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

// snapshot returns the events of a resync. If DNS says explicitly that there is no instance, a goodbye makes the service known.
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

// state returns what DNS says at present.
func (w *watch) state() state {
	s := state{records: map[string]driver.Record{}, invalid: map[string]error{}}
	for _, p := range w.parts {
		for _, e := range p.endpoints() {
			w.add(s, p.protocol, e)
		}
	}
	return s
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

// removals returns the events of records that are shown and no longer exist. Instances say goodbye if DNS has said so.
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

// goodbye returns the events of an instance that has said goodbye. Its record does not stay.
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

// additions returns the events of what is not shown as it is now. An invalid record stays as it was shown when it was valid.
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
