package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/memsync"
)

// deafEngine is an engine that can stop answering renewals.
type deafEngine struct {
	*memsync.Driver
	deaf atomic.Bool
}

func (e *deafEngine) Renew(ctx context.Context, id driver.LeaseID, claims []driver.Claim) ([]driver.Claim, error) {
	if e.deaf.Load() {
		return nil, fmt.Errorf("%w: connection refused", driver.ErrUnavailable)
	}
	return e.Driver.Renew(ctx, id, claims)
}

// runSync acquires and releases each primitive, waits for held ones, and loses a lease to an engine that does not answer. It also observes
// a leader that comes and goes.
func runSync(ctx context.Context, r *record) error {
	space, p := memsync.NewSpace(), r.providers()
	engine := &deafEngine{Driver: memsync.New(&memsync.Options{Space: space})}
	session := sync.New(engine, &sync.Options{TTL: 60 * time.Millisecond, Telemetry: p})
	other := sync.New(memsync.New(&memsync.Options{Space: space}), &sync.Options{Telemetry: p})
	defer func() { _ = other.Close() }()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()

	_ = session.Semaphore("exports", 2).Do(ctx, func(context.Context, *sync.Grant) error { return nil })
	_, _ = session.Mutex("").Lock(ctx)
	canceled, giveUp := context.WithCancel(ctx)
	giveUp()
	_, _ = session.Semaphore("exports", 2).Acquire(canceled)
	_, _ = session.Election("nightly").Campaign(canceled, nil)
	held, err := session.Mutex("ledger").Lock(ctx)
	if err != nil {
		return err
	}
	_, _ = other.Mutex("ledger").TryLock(ctx)
	engine.deaf.Store(true)
	waited, err := other.Mutex("ledger").Lock(ctx) // until the lease of the first has ended
	if err != nil {
		return err
	}
	if !errors.Is(held.Lost(), sync.ErrLost) {
		return errors.New("the grant of a session that is not heard of goes on")
	}
	_ = held.Release(ctx)
	_ = waited.Release(ctx)
	engine.deaf.Store(false)
	if err := lead(ctx, other); err != nil {
		return err
	}
	return session.Close()
}

// lead observes a leader that comes and goes.
func lead(ctx context.Context, session *sync.Session) error {
	candidate := session.Election("nightly")
	_, _ = candidate.Leader(ctx)
	for leader, err := range session.Election("nightly").Observe(ctx) {
		switch {
		case err != nil:
			return err
		case leader.Token != 0:
			return candidate.Resign(ctx)
		}
		if _, err := candidate.Campaign(ctx, []byte("host-a")); err != nil {
			return err
		}
		if _, err := candidate.Leader(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}
