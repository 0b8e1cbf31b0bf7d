package kvdiscovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/state/kv"
)

// lifetime is what the items of a lease live with.
type lifetime interface {
	Renew(ctx context.Context) error
	Revoke(ctx context.Context) error
	// bind returns the option of a write that lives with the lease, and what to call after the write. It returns ErrNotFound if the lease has
	// ended.
	bind(ctx context.Context) (kv.PutOption, func(), error)
	// renewal reports whether an event is a renewal, and so no change.
	renewal(ctx context.Context, at place, e kv.Event) bool
}

// granted is a lease of the engine.
type granted struct{ *kv.Lease }

func (g granted) bind(context.Context) (kv.PutOption, func(), error) {
	return kv.WithLease(g.Lease), func() {}, nil
}

func (granted) renewal(context.Context, place, kv.Event) bool { return false }

// expiry is a lease on an engine without leases. Each item has the TTL of the lease, and a renewal writes it again.
type expiry struct {
	items *lease
	ttl   time.Duration
	turn  chan struct{} // held while an item is written, and its version is not known yet

	until time.Time // when the items end unless they are renewed; guarded by items.mu
}

func newExpiry(items *lease, ttl time.Duration) *expiry {
	return &expiry{items: items, ttl: ttl, turn: make(chan struct{}, 1), until: time.Now().Add(ttl)}
}

// take waits for the turn to write.
func (e *expiry) take(ctx context.Context) (done func(), err error) {
	select {
	case e.turn <- struct{}{}:
		return func() { <-e.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (e *expiry) bind(ctx context.Context) (kv.PutOption, func(), error) {
	if err := e.alive(); err != nil {
		return nil, nil, err
	}
	done, err := e.take(ctx)
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
	done, err := e.take(ctx)
	if err != nil {
		return false
	}
	defer done()
	return event.Item.Version == e.items.version(at)
}

// Renew writes all items again. One that somebody else has written meanwhile no longer belongs to the lease.
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

// each calls do with each item, and forgets those that are no longer as they were written.
func (e *expiry) each(do func(place, item) error) (failed error) {
	e.items.mu.Lock()
	all := maps.Clone(e.items.written)
	e.items.mu.Unlock()
	for at, it := range all {
		switch err := do(at, it); {
		case errors.Is(err, kv.ErrConflict), errors.Is(err, kv.ErrNotFound):
			e.items.forget(at, it.version)
		case err != nil:
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// repeats drops the renewals from a watch on an engine without leases.
type repeats struct {
	last    map[string]string // values by key
	current bool              // what is shown is a change, not a snapshot
}

// drop reports whether an event shows what an earlier one has shown.
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
