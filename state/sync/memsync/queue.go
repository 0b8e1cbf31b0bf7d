package memsync

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/go-os/go-os/state/sync/driver"
)

// Acquire implements driver.Queue.
func (d *Driver) Acquire(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	s := d.space
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.alive(c.Lease)
	if l == nil {
		return 0, false, driver.ErrLost
	}
	if _, withdrawn := l.withdrawn[place{c.Name, c.ID}]; withdrawn {
		return 0, false, fmt.Errorf("%w: the claim was withdrawn", driver.ErrInvalid)
	}
	q := s.queue(c.Name)
	defer s.removeIdle(q)
	if try && len(q.claims) >= c.Seats {
		return 0, false, driver.ErrHeld
	}
	s.token++
	c.Token = s.token
	c.Value = bytes.Clone(c.Value)
	mine := &claim{Claim: c, granted: make(chan struct{}), gone: make(chan struct{})}
	l.claims[mine] = struct{}{}
	q.claims = append(q.claims, mine)
	s.admit(q)
	select {
	case <-mine.granted:
		if len(q.claims) == 1 {
			q.notify()
		}
		return c.Token, true, nil
	default:
		return c.Token, false, nil
	}
}

// Await implements driver.Queue.
func (d *Driver) Await(ctx context.Context, c driver.Claim) error {
	d.space.mu.Lock()
	_, mine := d.space.find(c)
	d.space.mu.Unlock()
	if mine == nil {
		return driver.ErrLost
	}
	select {
	case <-mine.granted:
	case <-mine.gone:
	case <-ctx.Done():
		return ctx.Err()
	case <-d.life.Done():
		return driver.ErrClosed
	}
	d.space.mu.Lock()
	defer d.space.mu.Unlock()
	if _, mine := d.space.find(c); mine == nil || d.space.alive(c.Lease) == nil {
		return driver.ErrLost
	}
	return nil
}

// Release implements driver.Queue.
func (d *Driver) Release(ctx context.Context, c driver.Claim) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s := d.space
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.alive(c.Lease); l != nil && c.Token == 0 {
		l.withdrawn[place{c.Name, c.ID}] = struct{}{}
	}
	_, mine := s.find(c)
	if mine == nil {
		return driver.ErrLost
	}
	if l := s.leases[mine.Lease]; l != nil {
		delete(l.claims, mine)
	}
	s.remove(mine)
	return nil
}

// Watch implements driver.Watcher.
func (d *Driver) Watch(ctx context.Context, name string, emit func(driver.Holder) error) error {
	s := d.space
	s.mu.Lock()
	q := s.queue(name)
	q.watchers++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		q.watchers--
		s.removeIdle(q)
	}()
	for {
		holder, changed := s.holder(q)
		if err := emit(holder); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-d.life.Done():
			return driver.ErrClosed
		}
	}
}

// holder returns the holder of the first seat, and a channel that is closed when the holder changes.
func (s *Space) holder(q *queue) (driver.Holder, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(q.claims) == 0 {
		return driver.Holder{}, q.changed
	}
	first := q.claims[0]
	return driver.Holder{Token: first.Token, Value: bytes.Clone(first.Value)}, q.changed
}

// queue returns the queue of a name, or a new one. The caller must call removeIdle, and holds mu, as for the methods below.
func (s *Space) queue(name string) *queue {
	q := s.queues[name]
	if q == nil {
		q = &queue{name: name, changed: make(chan struct{})}
		s.queues[name] = q
	}
	return q
}

// removeIdle removes a queue without claims and watchers.
func (s *Space) removeIdle(q *queue) {
	if len(q.claims) == 0 && q.watchers == 0 {
		delete(s.queues, q.name)
	}
}

// find returns a claim that is in its queue, or nil. If c has a token, the claim must have the same one.
func (s *Space) find(c driver.Claim) (*queue, *claim) {
	q := s.queues[c.Name]
	if q == nil {
		return nil, nil
	}
	for _, other := range q.claims {
		if other.ID == c.ID && (c.Token == 0 || c.Token == other.Token) {
			return q, other
		}
	}
	return q, nil
}

// remove removes a claim from its queue, and admits the next one.
func (s *Space) remove(c *claim) {
	q := s.queues[c.Name]
	at := slices.Index(q.claims, c)
	if at < 0 {
		return
	}
	q.claims = slices.Delete(q.claims, at, at+1)
	close(c.gone)
	s.admit(q)
	if at == 0 {
		q.notify()
	}
	s.removeIdle(q)
}

// admit grants seats to the first claims of a queue.
func (s *Space) admit(q *queue) {
	for i, c := range q.claims {
		if i >= c.Seats {
			return
		}
		select {
		case <-c.granted:
		default:
			close(c.granted)
		}
	}
}

// notify wakes the watchers when the first claim has changed.
func (q *queue) notify() {
	close(q.changed)
	q.changed = make(chan struct{})
}
