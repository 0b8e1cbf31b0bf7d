package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// maxFailures is how many reports of failure in a row end a hold.
const maxFailures = 3

// vanish records an instance whose record disappeared without a goodbye. The caller must call judge next.
func (s *service) vanish(id string) {
	e := s.entries[id]
	if e == nil || !e.held.IsZero() {
		return
	}
	now := time.Now()
	s.vanished[id] = vanished{e.record, now, e.asOf}
	s.order = append(s.order, departure{id, now})
	delete(s.entries, id)
	s.dirty = true
}

// judge decides on instances that have vanished: they are removed, unless so many have that the registry is suspected. Then they are held,
// and so are those that vanished shortly before.
func (s *service) judge(ids ...string) {
	now := time.Now()
	s.forgetVanished(now)
	if s.suspicious() {
		s.holdVanished(now)
		return
	}
	for _, id := range ids {
		if v, ok := s.vanished[id]; ok {
			s.later(s.resolver.obs.vanished, v.record)
		}
	}
}

// forgetVanished drops the instances that vanished longer than HoldWindow ago. The cost of a removal does not depend on their number.
func (s *service) forgetVanished(now time.Time) {
	for len(s.order) > 0 && now.Sub(s.order[0].at) > s.resolver.opts.HoldWindow {
		if first := s.order[0]; s.vanished[first.id].at.Equal(first.at) {
			delete(s.vanished, first.id)
		}
		s.order = s.order[1:]
	}
}

// suspicious reports whether so many instances have vanished lately that the registry may be at fault.
func (s *service) suspicious() bool {
	if len(s.vanished) == 0 {
		return false
	}
	lost := len(s.vanished) + s.held
	total := len(s.entries) + len(s.vanished)
	return len(s.entries) == 0 || lost >= 2 && float64(lost) > s.resolver.opts.HoldShare*float64(total)
}

// holdVanished puts the instances that vanished lately back, as held.
func (s *service) holdVanished(now time.Time) {
	first := now
	for id, v := range s.vanished {
		if s.entries[id] != nil {
			continue
		}
		since := cmp.Or(v.asOf, now)
		s.entries[id] = &entry{record: v.record, held: since}
		s.held++
		s.later(s.resolver.obs.held, v.record)
		if since.Before(first) {
			first = since
		}
	}
	clear(s.vanished)
	s.order = nil
	s.schedule(first.Add(s.resolver.opts.HoldTime), now)
}

// schedule requests a check of the holds no later than end.
func (s *service) schedule(end, now time.Time) {
	switch {
	case s.timer == nil:
		s.timer = time.AfterFunc(end.Sub(now), s.endHolds)
	case s.holdEnd.IsZero() || end.Before(s.holdEnd):
		s.timer.Reset(end.Sub(now))
	default:
		return
	}
	s.holdEnd = end
}

// endHolds removes the instances that have been held for HoldTime.
func (s *service) endHolds() {
	ctx, now := s.resolver.ctx, time.Now()
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holdEnd = time.Time{}
	for id, e := range s.entries {
		if e.held.IsZero() {
			continue
		}
		if end := e.held.Add(s.resolver.opts.HoldTime); end.After(now) {
			s.schedule(end, now)
		} else {
			s.drop(id)
		}
	}
	s.publish()
}

// drop removes an instance whose hold has ended.
func (s *service) drop(id string) {
	e := s.entries[id]
	delete(s.entries, id)
	s.held--
	s.dirty = true
	s.later(s.resolver.obs.vanished, e.record)
}

// report counts the results that this process reports for a held instance.
func (s *service) report(id string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	switch {
	case e == nil || e.held.IsZero():
		return
	case ok:
		e.failures = 0
		return
	}
	if e.failures++; e.failures < maxFailures {
		return
	}
	s.drop(id)
	s.publish()
}

// refuse keeps the reason why a record cannot be decoded. The instance keeps its last known state.
func (s *service) refuse(place string, err error) {
	s.known = true
	if s.reading {
		s.refused[place] = struct{}{}
	}
	if before, ok := s.invalid[place]; ok && before.Error() == err.Error() {
		return
	}
	s.invalid[place] = err
	s.queue(func(ctx context.Context) { s.resolver.obs.refused(ctx, s.name, place, err) })
}

// lose records that the watch has ended.
func (s *service) lose(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost(err, 0)
}

// overdueAfter is when a registry that has not answered since the start counts as out of reach. Some clients connect for ever without an
// error.
const overdueAfter = 5 * time.Second

// overdue reports a registry that has not answered since the start.
func (s *service) overdue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.answered && s.err == nil {
		s.outOfReach(fmt.Errorf("%w: no answer within %s", ErrUnavailable, overdueAfter))
	}
}

// lost records that the registry has been out of reach for some time.
func (s *service) lost(err error, age time.Duration) {
	s.reading, s.unseen, s.refused = false, nil, nil
	if since := time.Now().Add(-age); s.stale.IsZero() || since.Before(s.stale) {
		s.stale = since
	}
	s.outOfReach(err)
}

// outOfReach records why the registry does not answer, and reports it once. A closed driver does not recover: Lookups return.
func (s *service) outOfReach(err error) {
	if !s.reported {
		s.reported = true
		s.queue(func(ctx context.Context) { s.resolver.obs.lost(ctx, s.name, err) })
	}
	if s.err == nil && !s.ready {
		close(s.failed)
	}
	s.err = cmp.Or(err, ErrUnavailable)
	if errors.Is(err, ErrClosed) {
		s.load()
	}
}

// publish makes the present instances visible, if they have changed. While a snapshot is being read it waits for its end. Publishing takes a
// tenth of the time at most: with ten thousand instances that change one by one, several changes become visible together.
func (s *service) publish() {
	first := s.known && s.current.Load() == nil
	if s.reading || !s.dirty && !first {
		return
	}
	if wait := time.Until(s.rest); wait > 0 && !first {
		if s.publishing == nil {
			s.publishing = time.AfterFunc(wait, s.publishLater)
		}
		return
	}
	s.publishNow()
}

// publishLater publishes the delayed changes.
func (s *service) publishLater() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publishing = nil
	s.publish()
}

func (s *service) publishNow() {
	began := time.Now()
	s.dirty = false
	next := &Snapshot{Service: s.name, service: s, Instances: make([]Instance, 0, len(s.entries)), held: make([]bool, 0, len(s.entries))}
	for _, id := range slices.Sorted(maps.Keys(s.entries)) {
		e := s.entries[id]
		next.add(e.record.Instance, e.record.Incarnation, !e.held.IsZero())
	}
	s.current.Store(next)
	close(s.waiters)
	s.waiters = make(chan struct{})
	s.disk.touch()
	now := time.Now()
	s.rest = now.Add(9 * now.Sub(began))
}

// changed returns a channel that is closed with the next snapshot.
func (s *service) changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiters
}

func (s *service) age() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stale.IsZero() {
		return 0
	}
	return time.Since(s.stale)
}

func (s *service) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *service) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{
		Service: s.name, Loaded: s.answered, Instances: len(s.entries), Invalid: maps.Clone(s.invalid), Err: s.err, States: map[State]int{},
	}
	if !s.stale.IsZero() {
		st.Age = time.Since(s.stale)
	}
	for id, e := range s.entries {
		if e.held.IsZero() {
			st.States[e.record.State]++
		} else {
			st.Held = append(st.Held, id)
		}
	}
	slices.Sort(st.Held)
	return st
}
