package memkv

import (
	"container/heap"
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/go-os/go-os/state/kv/driver"
)

// deadline is the end of an item or of a lease.
type deadline struct {
	at    time.Time
	index int // in deadlines
	item  *item
	lease *lease
}

// deadlines is a heap whose first element is the earliest.
type deadlines []*deadline

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

// Push implements heap.Interface.
func (d *deadlines) Push(x any) {
	end := x.(*deadline)
	end.index = len(*d)
	*d = append(*d, end)
}

// Pop implements heap.Interface.
func (d *deadlines) Pop() any {
	last := len(*d) - 1
	end := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	return end
}

func (s *Driver) schedule(end *deadline) *deadline {
	heap.Push(&s.ending, end)
	s.setAlarm()
	return end
}

// unschedule does not reset the alarm: an alarm without work costs less than a reset at every write.
func (s *Driver) unschedule(end *deadline) { heap.Remove(&s.ending, end.index) }

func (s *Driver) setAlarm() {
	if len(s.ending) == 0 {
		return
	}
	wait := time.Until(s.ending[0].at)
	if s.alarm == nil {
		s.alarm = time.AfterFunc(wait, s.expireDue)
		return
	}
	s.alarm.Reset(wait)
}

// expireDue removes expired items, so that watches report them even if the store is not called.
func (s *Driver) expireDue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.expire()
		s.setAlarm()
	}
}

func (s *Driver) expire() {
	if len(s.ending) == 0 {
		return
	}
	now := time.Now()
	for len(s.ending) > 0 && !s.ending[0].at.After(now) {
		if end := s.ending[0]; end.lease != nil {
			s.drop(end.lease)
		} else {
			s.remove(end.item)
		}
	}
}

// lease is the shared lifetime of several items. Driver.mu guards its fields.
type lease struct {
	id    driver.LeaseID
	ttl   time.Duration
	end   *deadline
	items map[string]*item
}

// Grant implements driver.Leaser.
func (s *Driver) Grant(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
	if err := s.lock(ctx); err != nil {
		return "", err
	}
	defer s.mu.Unlock()
	l := &lease{ttl: ttl, items: make(map[string]*item)}
	l.id = driver.LeaseID(strconv.Itoa(s.granted))
	s.granted++
	l.end = s.schedule(&deadline{at: time.Now().Add(ttl), lease: l})
	s.leases[l.id] = l
	return l.id, nil
}

// Renew implements driver.Leaser.
func (s *Driver) Renew(ctx context.Context, id driver.LeaseID) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	l := s.leases[id]
	if l == nil {
		return driver.ErrNotFound
	}
	l.end.at = time.Now().Add(l.ttl)
	heap.Fix(&s.ending, l.end.index)
	s.setAlarm()
	return nil
}

// Revoke implements driver.Leaser.
func (s *Driver) Revoke(ctx context.Context, id driver.LeaseID) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if l := s.leases[id]; l != nil {
		s.drop(l)
	}
	return nil
}

// drop ends a lease and removes its items in the order of their keys, so that watches show them in a fixed order.
func (s *Driver) drop(l *lease) {
	s.unschedule(l.end)
	delete(s.leases, l.id)
	for _, key := range slices.Sorted(maps.Keys(l.items)) {
		s.remove(l.items[key])
	}
}
