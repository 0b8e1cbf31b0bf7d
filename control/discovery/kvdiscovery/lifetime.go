package kvdiscovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/state/kv"
)

// lifetime binds items to a lease.
type lifetime interface {
	Renew(ctx context.Context) error
	Revoke(ctx context.Context) error
	// bind returns the option that binds a write to the lease, and a function to call after the write. It returns ErrNotFound if the lease
	// has ended.
	bind(ctx context.Context, at place) (kv.PutOption, func(), error)
	// renewal reports whether an event is a renewal, and so no change.
	renewal(ctx context.Context, at place, e kv.Event) bool
}

// granted is a lease of the engine.
type granted struct{ *kv.Lease }

func (g granted) bind(context.Context, place) (kv.PutOption, func(), error) {
	return kv.WithLease(g.Lease), func() {}, nil
}

func (granted) renewal(context.Context, place, kv.Event) bool { return false }

// expiry is a lease on an engine without leases. Each item has the TTL of the lease, and a renewal writes it again.
type expiry struct {
	items *lease
	ttl   time.Duration

	// Guarded by items.mu.
	until time.Time               // when the items end unless they are renewed; zero once the lease was revoked
	busy  map[place]chan struct{} // items that are being written; closed when the version is known
}

func newExpiry(items *lease, ttl time.Duration) *expiry {
	return &expiry{items: items, ttl: ttl, until: time.Now().Add(ttl), busy: map[place]chan struct{}{}}
}

// take waits until no write of an item is in progress.
func (e *expiry) take(ctx context.Context, at place) (done func(), err error) {
	for {
		done, busy := e.tryTake(at)
		if busy == nil {
			return done, nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// tryTake returns a channel to wait for if a write of the item is in progress.
func (e *expiry) tryTake(at place) (done func(), busy <-chan struct{}) {
	e.items.mu.Lock()
	defer e.items.mu.Unlock()
	if other := e.busy[at]; other != nil {
		return nil, other
	}
	mine := make(chan struct{})
	e.busy[at] = mine
	return func() {
		e.items.mu.Lock()
		defer e.items.mu.Unlock()
		delete(e.busy, at)
		close(mine)
	}, nil
}

func (e *expiry) bind(ctx context.Context, at place) (kv.PutOption, func(), error) {
	if err := e.alive(); err != nil {
		return nil, nil, err
	}
	done, err := e.take(ctx, at)
	return kv.TTL(e.ttl), done, err
}

// alive returns ErrNotFound if the lease was not renewed in time, or revoked.
func (e *expiry) alive() error {
	e.items.mu.Lock()
	defer e.items.mu.Unlock()
	if !time.Now().Before(e.until) {
		return fmt.Errorf("%w: the lease has ended", driver.ErrNotFound)
	}
	return nil
}

func (e *expiry) renewal(ctx context.Context, at place, event kv.Event) bool {
	if event.Kind != kv.EventPut {
		return false
	}
	done, err := e.take(ctx, at)
	if err != nil {
		return false
	}
	defer done()
	return event.Item.Version == e.items.version(at)
}

// Renew writes all items again. One that another client has written meanwhile no longer belongs to the lease.
func (e *expiry) Renew(ctx context.Context) error {
	if err := e.alive(); err != nil {
		return err
	}
	sent := time.Now()
	if err := e.each(func(at place, it item) error {
		return e.items.put(ctx, at, it.value, kv.IfVersion(it.version))
	}); err != nil {
		return err
	}
	e.items.mu.Lock()
	defer e.items.mu.Unlock()
	if !e.until.IsZero() { // a revoked lease stays so
		e.until = sent.Add(e.ttl)
	}
	return nil
}

// Revoke removes all items.
func (e *expiry) Revoke(ctx context.Context) error {
	e.items.mu.Lock()
	e.until = time.Time{}
	e.items.mu.Unlock()
	return e.each(func(at place, it item) error {
		err := at.store.Delete(ctx, at.key, kv.IfVersion(it.version))
		if err == nil {
			e.items.forget(at, it.version)
		}
		return err
	})
}

// maxWrites is how many items are written at the same time.
const maxWrites = 16

// each calls do with each item, and forgets items that have changed since they were written.
func (e *expiry) each(do func(place, item) error) error {
	e.items.mu.Lock()
	all := maps.Clone(e.items.written)
	e.items.mu.Unlock()
	var work errgroup.Group
	work.SetLimit(maxWrites)
	for at, it := range all {
		work.Go(func() error {
			err := do(at, it)
			if errors.Is(err, kv.ErrConflict) || errors.Is(err, kv.ErrNotFound) {
				e.items.forget(at, it.version)
				return nil
			}
			return err
		})
	}
	return work.Wait()
}

// repeats drops the renewals from a watch on an engine without leases.
type repeats struct {
	last    map[string]string // values by key
	current bool              // the event is a change, not part of a snapshot
}

// drop reports whether an event repeats an earlier one.
func (r *repeats) drop(e kv.Event) bool {
	switch e.Kind {
	case kv.EventResync:
		r.current = false
		clear(r.last)
	case kv.EventSynced:
		r.current = true
	case kv.EventDelete:
		delete(r.last, e.Item.Key)
	case kv.EventPut:
		value, ok := r.last[e.Item.Key]
		r.last[e.Item.Key] = string(e.Item.Value)
		return ok && r.current && value == string(e.Item.Value)
	}
	return false
}
