package kv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/state/internal/leases"
	"github.com/go-os/go-os/state/kv/driver"
)

// Lease is a lifetime that items share: items written WithLease disappear when it ends. A process keeps a lease to show that it is alive.
// It is safe for concurrent use.
type Lease struct {
	store  *Store
	leaser driver.Leaser
	id     driver.LeaseID
	ttl    time.Duration

	life    life.Life // until Revoke
	running life.Running
}

// Lease grants a lease that ends after ttl unless it is renewed. A ttl outside the engine's limits is ErrInvalid.
func (s *Store) Lease(ctx context.Context, ttl time.Duration) (lease *Lease, err error) {
	ctx, call := s.engine.grant.Start(ctx, "")
	defer call.End(ctx, &err)
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	leaser, err := optional[driver.Leaser](s.engine, Leases)
	if err != nil {
		return nil, err
	}
	if ttl <= 0 {
		return nil, fmt.Errorf("%w: a lease of %s: it must be above zero", ErrInvalid, ttl)
	}
	if ttl, err = s.engine.lifetime(Leases, ttl); err != nil {
		return nil, err
	}
	id, err := leaser.Grant(ctx, ttl)
	if err != nil {
		return nil, err
	}
	return &Lease{store: s, leaser: leaser, id: id, ttl: ttl}, nil
}

// TTL returns the time from a grant or a renewal of the lease to its end.
func (l *Lease) TTL() time.Duration { return l.ttl }

// Renew extends the lease to its whole TTL from now. It returns ErrNotFound if the lease has ended, and its items are gone.
func (l *Lease) Renew(ctx context.Context) (err error) {
	ctx, call := l.store.engine.renew.Start(ctx, "")
	defer call.End(ctx, &err)
	if err := l.store.usable(ctx); err != nil {
		return err
	}
	return l.leaser.Renew(ctx, l.id)
}

// Revoke ends the lease and deletes its items. A lease that has already ended is not an error. A Run of this Lease then ends, and later calls
// return ErrNotFound.
func (l *Lease) Revoke(ctx context.Context) (err error) {
	ctx, call := l.store.engine.revoke.Start(ctx, "")
	defer call.End(ctx, &err)
	if err := l.store.usable(ctx); err != nil {
		return err
	}
	if err := l.leaser.Revoke(ctx, l.id); err != nil {
		return err
	}
	l.life.End()
	return nil
}

// Run renews the lease three times per TTL, and returns nil when ctx ends or this Lease is revoked. After the end of ctx the lease lasts
// for the rest of its TTL. A renewal that fails is retried. Run returns an error that wraps ErrNotFound when the lease has ended: the
// engine reported it, or a whole TTL has passed since the last successful renewal was sent. It returns ErrClosed if the store is closed,
// and ErrInvalid if it is already running.
func (l *Lease) Run(ctx context.Context) error {
	end, err := l.running.Begin()
	if err != nil {
		return &Error{Op: "lease_renew", Err: err}
	}
	defer end()
	open, leave := l.store.within(ctx)
	defer leave()
	within, leave := l.life.Within(open)
	defer leave()
	upkeep := leases.Upkeep{
		TTL:   l.ttl,
		Renew: func(ctx context.Context, _ time.Time) error { return l.Renew(ctx) },
		Final: func(err error) bool { return errors.Is(err, ErrNotFound) || errors.Is(err, ErrClosed) },
		Retry: func(int) time.Duration { return l.ttl / 10 },
	}
	err = upkeep.Run(within, time.Now(), 0)
	if err == nil && open.Err() != nil && ctx.Err() == nil { // not the end of ctx, so the store is closed
		err = &Error{Op: "lease_renew", Err: ErrClosed}
	}
	if expired, ok := errors.AsType[*leases.Expired](err); ok {
		err = &Error{Op: "lease_renew", Err: fmt.Errorf("%w: %w", ErrNotFound, expired)}
	}
	if err != nil {
		l.store.engine.leaseLost.EmitError(ctx, err)
	}
	return err
}
