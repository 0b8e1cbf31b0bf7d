package boltkv

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"

	"github.com/go-os/go-os/state/kv/driver"
)

// command is one write that waits for its transaction.
type command struct {
	do   func(*writer) error
	err  error
	done chan struct{}
}

// apply runs a write, in one transaction with concurrent writes. If do returns an error, it must have written nothing: the other writes of
// the transaction are committed.
func (d *Driver) apply(ctx context.Context, do func(*writer) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := &command{do: do, done: make(chan struct{})}
	if !d.enqueue(c) {
		return driver.ErrClosed
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enqueue adds a command to the queue, and starts the goroutine that processes it if necessary. It returns false if the store is closed.
func (d *Driver) enqueue(c *command) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.queue = append(d.queue, c)
	if !d.leading {
		d.leading = true
		d.work.Go(d.lead)
	}
	return true
}

// lead runs queued commands until the queue is empty. While one transaction is written to the disk, the commands of the next one queue up.
func (d *Driver) lead() {
	for {
		d.mu.Lock()
		batch := d.queue
		d.queue = nil
		if len(batch) == 0 {
			d.leading = false
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()
		d.write(batch)
	}
}

// write runs commands in one transaction and notifies the watches.
func (d *Driver) write(batch []*command) {
	var w *writer
	d.commit.Lock()
	err := guarded(d.db.Path(), func() error {
		return d.db.Update(func(tx *bbolt.Tx) error {
			w = newWriter(tx)
			w.expire()
			for _, c := range batch {
				if c.err = c.do(w); w.fault != nil {
					break
				}
			}
			return w.fault
		})
	})
	if err == nil {
		for _, ev := range w.events {
			d.feed.Append(ev)
		}
		d.wake(w.first())
	}
	d.commit.Unlock()
	for _, c := range batch {
		if err != nil {
			c.err = classify(err)
		}
		c.err = located(d.db.Path(), c.err)
		close(c.done)
	}
}

// wake sets the alarm for the item that expires first. end is in Unix nanoseconds; 0 means none.
func (d *Driver) wake(end int64) {
	if end == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	wait := max(time.Duration(end-time.Now().UnixNano()), 0)
	if d.alarm == nil {
		d.alarm = time.AfterFunc(wait, func() { d.enqueue(&command{do: nothing, done: make(chan struct{})}) })
		return
	}
	d.alarm.Reset(wait)
}

// writer is a write transaction in progress.
type writer struct {
	items, ends *bbolt.Bucket
	now         time.Time
	events      []driver.Event
	earliest    int64
	fault       error // of bbolt; the transaction is rolled back
}

func newWriter(tx *bbolt.Tx) *writer {
	return &writer{items: tx.Bucket(itemsName()), ends: tx.Bucket(endsName()), now: time.Now()}
}

// first returns the time at which the next item expires. It may be too early, but never too late. expire and put compute it, because the
// buckets are invalid after the transaction.
func (w *writer) first() int64 { return w.earliest }

// expire removes the items that have expired.
func (w *writer) expire() {
	c := w.ends.Cursor()
	for end, _ := c.First(); end != nil; end, _ = c.First() {
		at := int64(binary.BigEndian.Uint64(end))
		if at > w.now.UnixNano() {
			w.earliest = at
			return
		}
		key := bytes.Clone(end[stampSize:])
		if w.remove(key, at); w.fault != nil {
			return
		}
	}
}

// check keeps the first fault.
func (w *writer) check(err error) {
	if w.fault == nil {
		w.fault = err
	}
}

// find returns the record at key, if it exists. It returns driver.ErrConflict if the conditions do not hold.
func (w *writer) find(key []byte, absent bool, version driver.Version) (old record, exists bool, err error) {
	data := w.items.Get(key)
	if exists = data != nil; exists {
		if old, err = decode(data); err != nil {
			return old, true, err
		}
	}
	if absent && exists || version != 0 && (!exists || old.version != version) {
		return old, exists, driver.ErrConflict
	}
	return old, exists, nil
}

func (w *writer) put(req driver.PutRequest) (driver.Version, error) {
	key := []byte(req.Key)
	old, _, err := w.find(key, req.IfAbsent, req.IfVersion)
	if err != nil {
		return 0, err
	}
	if old.end != 0 {
		w.check(w.ends.Delete(stamp(old.end, req.Key)))
	}
	r := record{value: req.Value}
	if req.TTL > 0 {
		r.end = w.now.Add(req.TTL).UnixNano()
		w.check(w.ends.Put(stamp(r.end, req.Key), nil))
		if w.earliest == 0 || r.end < w.earliest {
			w.earliest = r.end
		}
	}
	r.version = w.advance()
	w.check(w.items.Put(key, r.encode()))
	w.events = append(w.events, driver.Event{Kind: driver.EventPut, Item: r.item(req.Key, w.now)})
	return r.version, w.fault
}

func (w *writer) delete(req driver.DeleteRequest) error {
	key := []byte(req.Key)
	old, exists, err := w.find(key, false, req.IfVersion)
	if err != nil || !exists {
		return err
	}
	w.remove(key, old.end)
	return w.fault
}

func (w *writer) remove(key []byte, end int64) {
	if end != 0 {
		w.check(w.ends.Delete(stamp(end, string(key))))
	}
	w.check(w.items.Delete(key))
	w.advance()
	w.events = append(w.events, driver.Event{Kind: driver.EventDelete, Item: driver.Item{Key: string(key)}})
}

// advance returns the next position, which the feed will assign to the same event.
func (w *writer) advance() driver.Version {
	position, err := w.items.NextSequence()
	w.check(err)
	return driver.Version(position)
}
