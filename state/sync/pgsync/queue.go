package pgsync

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/internal/notify"
)

// Acquire implements driver.Queue.
func (d *Driver) Acquire(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
	most := int64(math.MaxInt64)
	if try {
		most = int64(c.Seats)
	}
	leave, err := d.gate.enter(ctx, c.Name)
	if err != nil {
		return 0, false, d.classify(ctx, err)
	}
	defer leave()
	result, err := d.exec(ctx, acquireClaim, text(c.Name), c.ID, string(c.Lease), c.Value, most, d.opts.Schema)
	if err != nil {
		return 0, false, err
	}
	var token, others int64
	var leased, withdrawn bool
	if _, err := row(result, &token, &others, &leased, &withdrawn); err != nil {
		return 0, false, err
	}
	switch {
	case token != 0:
		return driver.Token(token), others < int64(c.Seats), nil
	case !leased:
		return 0, false, driver.ErrLost
	case withdrawn:
		return 0, false, fmt.Errorf("%w: the claim was withdrawn before it arrived", driver.ErrUnavailable)
	default:
		return 0, false, driver.ErrHeld
	}
}

// recheck is the wait before checking a lease again that should have ended: another transaction may be renewing or removing it.
const recheck = 50 * time.Millisecond

// Await implements driver.Queue.
func (d *Driver) Await(ctx context.Context, c driver.Claim) error {
	ctx, cancel := d.life.Within(ctx)
	defer cancel()
	sub, leave := d.hub.Subscribe(text(c.Name))
	defer leave()
	for {
		sub.About(notify.Any)
		v, err := d.look(ctx, c)
		switch {
		case err != nil:
			return err
		case !v.mine:
			return driver.ErrLost
		case v.ahead < int64(c.Seats):
			return nil
		}
		if c.Seats == 1 {
			sub.About(v.before)
		}
		if err := sub.Wait(ctx, min(max(v.left, recheck), d.opts.Poll)); err != nil {
			return err
		}
	}
}

// view is the result of one read of a queue.
type view struct {
	mine   bool          // the claim and its lease exist
	ahead  int64         // number of claims before it
	before int64         // the token of the claim right before it
	left   time.Duration // until the lease of that claim ends; for a semaphore, until the first lease of all claims ahead ends
}

func (d *Driver) look(ctx context.Context, c driver.Claim) (v view, err error) {
	result, err := d.exec(ctx, lookClaim, text(c.Name), int64(c.Token), c.ID, c.Seats == 1)
	if err != nil {
		return v, err
	}
	var left int64
	_, err = row(result, &v.mine, &v.ahead, &v.before, &left)
	v.left = time.Duration(left) * time.Microsecond
	return v, err
}

// Release implements driver.Queue. A claim without a token is withdrawn.
func (d *Driver) Release(ctx context.Context, c driver.Claim) error {
	if c.Token != 0 {
		return d.one(ctx, releaseClaim, text(c.Name), c.ID, d.opts.Schema)
	}
	leave, err := d.gate.enter(ctx, c.Name)
	if err != nil {
		return d.classify(ctx, err)
	}
	defer leave()
	return d.one(ctx, withdrawClaim, text(c.Name), c.ID, d.opts.Schema, string(c.Lease))
}

// Watch implements driver.Watcher.
func (d *Driver) Watch(ctx context.Context, name string, emit func(driver.Holder) error) error {
	ctx, cancel := d.life.Within(ctx)
	defer cancel()
	return d.hub.Watch(ctx, text(name), func(ctx context.Context) (driver.Holder, time.Duration, error) { return d.holder(ctx, name) }, emit)
}

// holder returns the holder of a name (zero if there is none), and the maximum wait before the next read.
func (d *Driver) holder(ctx context.Context, name string) (h driver.Holder, wait time.Duration, err error) {
	result, err := d.exec(ctx, firstHolder, text(name))
	if err != nil {
		return h, 0, err
	}
	var token, micros int64
	found, err := row(result, &token, &h.Value, &micros)
	if err != nil || !found {
		return h, d.opts.Poll, err
	}
	h.Token = driver.Token(token)
	return h, min(d.opts.Poll, max(time.Duration(micros)*time.Microsecond, recheck)), nil
}
