package leases

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-os/go-os/internal/backoff"
)

// Upkeep renews a lease three times per TTL. It uses this machine's monotonic clock, and counts from when a request was sent, since the
// engine received it no earlier.
type Upkeep struct {
	// TTL of the lease.
	TTL time.Duration
	// Margin is how long before its TTL ends the lease counts as over.
	Margin time.Duration
	// Renew sends one renewal. Its context ends when the lease is over, since a later answer is useless. sent is a time before the
	// request.
	Renew func(ctx context.Context, sent time.Time) error
	// Final reports whether an error means that the lease has ended. After any other error the renewal is retried.
	Final func(error) bool
	// Retry returns the wait after a number of consecutive failures, which is at least one.
	Retry func(failures int) time.Duration
	// Failed is called with the first of several consecutive failures. It may be nil.
	Failed func(error)
}

// Expired is the error of a lease that is over because no renewal has succeeded in time.
type Expired struct {
	// After is how long ago the last successful renewal was sent when the lease was over: the TTL less the margin.
	After time.Duration
	// Err is the error of the last renewal, or context.DeadlineExceeded if there was no time for one.
	Err error
}

// Error implements error.
func (e *Expired) Error() string { return fmt.Sprintf("no renewal within %s: %v", e.After, e.Err) }

// Unwrap returns Err, unless Err is a context's error: that context belongs to a renewal, not to the caller.
func (e *Expired) Unwrap() error {
	if errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, context.Canceled) {
		return nil
	}
	return e.Err
}

// Run renews the lease until ctx ends, and then returns nil. It returns the error of a renewal that is Final, and an *Expired when the
// lease is over by the clock. renewed is the time at which the grant, or the last successful renewal, was sent. The first renewal follows
// after wait.
func (u *Upkeep) Run(ctx context.Context, renewed time.Time, wait time.Duration) error {
	lasts := u.TTL - u.Margin
	over := renewed.Add(lasts)
	var failure error // of the last renewal
	for failures := 0; ; {
		if backoff.Sleep(ctx, wait) != nil {
			return nil
		}
		sent := time.Now()
		if !sent.Before(over) {
			return &Expired{lasts, cmp.Or(failure, context.DeadlineExceeded)}
		}
		failure = u.renew(ctx, sent, over)
		switch {
		case ctx.Err() != nil:
			return nil
		case failure == nil:
			failures, over = 0, sent.Add(lasts)
			wait = u.TTL/3 - time.Since(sent)
			continue
		case u.Final(failure):
			return failure
		}
		if failures++; failures == 1 && u.Failed != nil {
			u.Failed(failure)
		}
		wait = min(u.Retry(failures), time.Until(over))
	}
}

func (u *Upkeep) renew(ctx context.Context, sent, over time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, over)
	defer cancel()
	return u.Renew(ctx, sent)
}
