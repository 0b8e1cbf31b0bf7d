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

func (d *Driver) schedule(end *deadline) *deadline {
	heap.Push(&d.ending, end)
	d.setAlarm()
	return end
}

// unschedule does not reset the alarm: an alarm without work costs less than a reset at every write.
func (d *Driver) unschedule(end *deadline) { heap.Remove(&d.ending, end.index) }

func (d *Driver) setAlarm() {
	if len(d.ending) == 0 {
		return
	}
	wait := time.Until(d.ending[0].at)
	if d.alarm == nil {
		d.alarm = time.AfterFunc(wait, d.expireDue)
		return
	}
	d.alarm.Reset(wait)
}

// expireDue removes expired items, so that watches report them even if the store is not called.
func (d *Driver) expireDue() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.expire()
		d.setAlarm()
	}
}

func (d *Driver) expire() {
	if len(d.ending) == 0 {
		return
	}
	now := time.Now()
	for len(d.ending) > 0 && !d.ending[0].at.After(now) {
		if end := d.ending[0]; end.lease != nil {
			d.drop(end.lease)
		} else {
			d.remove(end.item)
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
func (d *Driver) Grant(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
	if err := d.lock(ctx); err != nil {
		return "", err
	}
	defer d.mu.Unlock()
	l := &lease{ttl: ttl, items: make(map[string]*item)}
	l.id = driver.LeaseID(strconv.Itoa(d.granted))
	d.granted++
	l.end = d.schedule(&deadline{at: time.Now().Add(ttl), lease: l})
	d.leases[l.id] = l
	return l.id, nil
}

// Renew implements driver.Leaser.
func (d *Driver) Renew(ctx context.Context, id driver.LeaseID) error {
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.mu.Unlock()
	l := d.leases[id]
	if l == nil {
		return driver.ErrNotFound
	}
	l.end.at = time.Now().Add(l.ttl)
	heap.Fix(&d.ending, l.end.index)
	d.setAlarm()
	return nil
}

// Revoke implements driver.Leaser.
func (d *Driver) Revoke(ctx context.Context, id driver.LeaseID) error {
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.mu.Unlock()
	if l := d.leases[id]; l != nil {
		d.drop(l)
	}
	return nil
}

// drop ends a lease and removes its items in the order of their keys, so that watches show them in a fixed order.
func (d *Driver) drop(l *lease) {
	d.unschedule(l.end)
	delete(d.leases, l.id)
	for _, key := range slices.Sorted(maps.Keys(l.items)) {
		d.remove(l.items[key])
	}
}
