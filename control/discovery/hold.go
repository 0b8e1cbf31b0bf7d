package discovery

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"
)

// maxFailures is how many reports of failure in a row end a hold.
const maxFailures = 3

// vanish takes an instance whose record no longer exists, and which did not say goodbye. It is removed, unless so many have vanished that the
// registry is suspected: then it is held, and so are those that vanished shortly before.
func (s *service) vanish(id string) {
	e := s.entries[id]
	if e == nil || !e.held.IsZero() {
		return
	}
	now := time.Now()
	window := s.resolver.opts.HoldWindow
	s.vanished = slices.DeleteFunc(s.vanished, func(v vanished) bool { return now.Sub(v.at) > window })
	s.vanished = append(s.vanished, vanished{e.record, now, e.asOf})
	delete(s.entries, id)
	s.dirty = true
	if s.suspicious() {
		s.holdVanished(now)
		return
	}
	s.later(s.resolver.obs.vanished, e.record)
}

// suspicious reports whether the instances that have vanished lately are too many to be believed.
func (s *service) suspicious() bool {
	registered, held := 0, 0
	for _, e := range s.entries {
		if e.held.IsZero() {
			registered++
		} else {
			held++
		}
	}
	lost := len(s.vanished) + held
	total := registered + lost
	return registered+held == 0 || lost >= 2 && float64(lost) > s.resolver.opts.HoldShare*float64(total)
}

// holdVanished puts the instances that vanished lately back, as held.
func (s *service) holdVanished(now time.Time) {
	for _, v := range s.vanished {
		if s.entries[v.record.ID] == nil {
			s.entries[v.record.ID] = &entry{record: v.record, held: cmp.Or(v.asOf, now)}
			s.later(s.resolver.obs.held, v.record)
		}
	}
	s.vanished = nil
	s.schedule(now)
}

// schedule has the holds end in time.
func (s *service) schedule(now time.Time) {
	var next time.Time
	for _, e := range s.entries {
		if end := e.held.Add(s.resolver.opts.HoldTime); !e.held.IsZero() && (next.IsZero() || end.Before(next)) {
			next = end
		}
	}
	switch {
	case next.IsZero():
	case s.timer == nil:
		s.timer = time.AfterFunc(next.Sub(now), s.endHolds)
	default:
		s.timer.Reset(next.Sub(now))
	}
}

// endHolds removes the instances that have been held for HoldTime.
func (s *service) endHolds() {
	ctx, now := s.resolver.ctx, time.Now()
	if ctx.Err() != nil {
		return
	}
	defer s.emit(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, e := range s.entries {
		if !e.held.IsZero() && now.Sub(e.held) >= s.resolver.opts.HoldTime {
			s.drop(id)
		}
	}
	s.schedule(now)
	s.publish()
}

// drop removes an instance whose hold has ended.
func (s *service) drop(id string) {
	e := s.entries[id]
	delete(s.entries, id)
	s.dirty = true
	s.later(s.resolver.obs.vanished, e.record)
}

// report counts what this process observes of an instance that is held.
func (s *service) report(id string, ok bool) {
	defer s.emit(s.resolver.ctx)
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

// refuse keeps the reason for which a record cannot be decoded. The instance stays as it was last known.
func (s *service) refuse(place string, err error) {
	s.known = true
	if s.reading {
		s.refused[place] = struct{}{}
	}
	if before, ok := s.invalid[place]; ok && before.Error() == err.Error() {
		return
	}
	s.invalid[place] = err
	s.pending = append(s.pending, func(ctx context.Context) { s.resolver.obs.refused(ctx, s.name, place, err) })
}

// lose records that the watch has ended.
func (s *service) lose(ctx context.Context, err error) {
	defer s.emit(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost(err, 0)
}

// lost records that the registry has been out of reach for some time.
func (s *service) lost(err error, age time.Duration) {
	s.reading, s.unseen, s.refused = false, nil, nil
	if since := time.Now().Add(-age); s.stale.IsZero() || since.Before(s.stale) {
		s.stale = since
	}
	if !s.reported {
		s.reported = true
		s.pending = append(s.pending, func(ctx context.Context) { s.resolver.obs.lost(ctx, s.name, err) })
	}
	if s.err == nil && !s.ready {
		close(s.failed)
	}
	s.err = cmp.Or(err, ErrUnavailable)
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

// publishLater publishes what had to wait.
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
		next.add(e.record.Instance, !e.held.IsZero())
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
