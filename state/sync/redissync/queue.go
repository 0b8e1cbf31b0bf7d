package redissync

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/internal/notify"
)

// Acquire implements driver.Queue. One command checks the lease and another creates the claim. They are sent together. If the lease does
// not exist, the claim is removed again.
func (d *Driver) Acquire(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
	ttl, err := ttlOf(c.Lease)
	if err != nil {
		return 0, false, err
	}
	most := int64(math.MaxInt32)
	if try {
		most = int64(c.Seats)
	}
	answers := d.doMulti(ctx,
		request{command: d.client.B().Exists().Key(d.leaseKey(c.Lease)).Build().Pin()},
		request{command: d.client.B().Sadd().Key(d.membersKey(c.Lease)).Member(member(c)).Build()},
		request{command: d.client.B().Pexpire().Key(d.membersKey(c.Lease)).Milliseconds(2 * ttl.Milliseconds()).Build()},
		d.claimScript(acquireScript, c.Name, c.ID, millis(ttl), rueidis.BinaryString(c.Value), strconv.FormatInt(most, 10)))
	for _, answer := range answers {
		if err := answer.Error(); err != nil {
			return 0, false, d.classify(ctx, err)
		}
	}
	alive, _ := answers[0].AsInt64()
	parts, err := answers[3].ToArray()
	if err != nil {
		return 0, false, fmt.Errorf("decode the answer to an acquisition: %w", err)
	}
	if len(parts) != 2 {
		return 0, false, fmt.Errorf("the answer to an acquisition has %d parts: want 2", len(parts))
	}
	token, before := parse(parts[0]), parse(parts[1])
	switch {
	case token < 0:
		return 0, false, fmt.Errorf("%w: the claim was withdrawn", driver.ErrInvalid)
	case alive == 0:
		if token > 0 {
			if err := d.do(ctx, d.claimScript(releaseScript, c.Name, c.ID, number(driver.Token(token)))).Error(); err != nil {
				return 0, false, d.classify(ctx, err)
			}
		}
		return 0, false, driver.ErrLost
	case token == 0:
		return 0, false, driver.ErrHeld
	}
	return driver.Token(token), before < int64(c.Seats), nil
}

// parse returns a number in a script's answer, or zero if it is not a number.
func parse(m rueidis.RedisMessage) int64 {
	if n, err := m.AsInt64(); err == nil {
		return n
	}
	return 0
}

// Release implements driver.Queue.
func (d *Driver) Release(ctx context.Context, c driver.Claim) error {
	answers := d.doMulti(ctx, d.claimScript(releaseScript, c.Name, c.ID, number(c.Token)),
		request{command: d.client.B().Srem().Key(d.membersKey(c.Lease)).Member(member(c)).Build()})
	found, err := answers[0].AsInt64()
	switch {
	case err != nil:
		return d.classify(ctx, err)
	case found == 0:
		return driver.ErrLost
	default:
		return nil // if the member could not be removed, it expires with its set
	}
}

// recheck is the wait after the expected end of a claim before reading its queue again.
const recheck = 20 * time.Millisecond

// Await implements driver.Queue.
func (d *Driver) Await(ctx context.Context, c driver.Claim) error {
	ctx, cancel := d.life.Within(ctx)
	defer cancel()
	sub, leave := d.hub.Subscribe(c.Name)
	defer leave()
	for {
		sub.About(notify.Any)
		parts, err := d.do(ctx, d.script(lookScript, c.Name, c.ID, number(c.Token))).ToArray()
		if err != nil {
			return d.classify(ctx, err)
		}
		if len(parts) != 4 {
			return fmt.Errorf("the answer to a read of the queue has %d parts: want 4", len(parts))
		}
		ahead, left := parse(parts[0]), parse(parts[3])
		switch {
		case ahead < 0:
			return driver.ErrLost
		case ahead < int64(c.Seats):
			return nil
		case c.Seats == 1:
			sub.About(parse(parts[1]))
			left = parse(parts[2])
		}
		if err := sub.Wait(ctx, d.until(left)); err != nil {
			return err
		}
	}
}

// until returns the wait for the end of a claim with this many milliseconds left.
func (d *Driver) until(left int64) time.Duration {
	return min(time.Duration(max(left, 0))*time.Millisecond+recheck, d.poll)
}

// Watch implements driver.Watcher.
func (d *Driver) Watch(ctx context.Context, name string, emit func(driver.Holder) error) error {
	ctx, cancel := d.life.Within(ctx)
	defer cancel()
	return d.hub.Watch(ctx, name, func(ctx context.Context) (driver.Holder, time.Duration, error) { return d.holder(ctx, name) }, emit)
}

// holder returns the holder of the first seat of a name (zero if there is none), and the maximum wait before the next read.
func (d *Driver) holder(ctx context.Context, name string) (h driver.Holder, wait time.Duration, err error) {
	parts, err := d.do(ctx, d.script(holderScript, name)).ToArray()
	if err != nil {
		return h, 0, d.classify(ctx, err)
	}
	if len(parts) != 3 {
		return h, 0, fmt.Errorf("the answer about a holder has %d parts: want 3", len(parts))
	}
	if h.Token = driver.Token(parse(parts[0])); h.Token == 0 {
		return h, d.poll, nil
	}
	h.Value, err = parts[1].AsBytes()
	return h, d.until(parse(parts[2])), err
}
