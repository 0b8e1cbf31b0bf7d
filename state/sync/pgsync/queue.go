package pgsync

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/internal/ears"
)

// Acquire implements driver.Queue: statements that are sent at once, and are one transaction.
func (d *Driver) Acquire(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
	name, most := text(c.Name), int64(math.MaxInt64)
	if try {
		most = int64(c.Seats)
	}
	value := c.Value
	if value == nil {
		value = []byte{}
	}
	var batch pgx.Batch
	var token, others int64
	var leased bool
	batch.Queue(d.sql.number, name)
	batch.Queue(d.sql.purge, name)
	batch.Queue(d.sql.join, name, c.ID, string(c.Lease), value, most)
	batch.Queue(d.sql.tell, name, c.ID, d.opts.Schema)
	batch.Queue(d.sql.standing, name, c.ID, string(c.Lease)).QueryRow(func(row pgx.Row) error {
		return row.Scan(&token, &others, &leased)
	})
	if err := d.pool.SendBatch(ctx, &batch).Close(); err != nil {
		return 0, false, d.classify(ctx, err)
	}
	switch {
	case token != 0:
		return driver.Token(token), others < int64(c.Seats), nil
	case leased:
		return 0, false, driver.ErrHeld
	default:
		return 0, false, driver.ErrLost
	}
}

// soon is when to look again at a lease that should be over: somebody else may just be renewing or removing it.
const soon = 50 * time.Millisecond

// Await implements driver.Queue.
func (d *Driver) Await(ctx context.Context, c driver.Claim) error {
	ctx, cancel := d.life.Within(ctx)
	defer cancel()
	ear, leave := d.ears.Listen(text(c.Name))
	defer leave()
	for {
		ear.Hear(ears.Anyone)
		s, err := d.look(ctx, c)
		switch {
		case err != nil:
			return err
		case !s.mine:
			return driver.ErrLost
		case s.ahead < int64(c.Seats):
			return nil
		}
		if c.Seats == 1 {
			ear.Hear(s.before)
		}
		if err := ear.Wait(ctx, min(max(s.left, soon), d.opts.Poll)); err != nil {
			return d.classify(ctx, err)
		}
	}
}

// sight is a moment of a queue.
type sight struct {
	mine   bool          // the claim is there, and its lease lives
	ahead  int64         // claims before it
	before int64         // the token of the claim right before it
	left   time.Duration // until the lease of that claim is over; of a semaphore, the first lease of all that are ahead
}

func (d *Driver) look(ctx context.Context, c driver.Claim) (s sight, err error) {
	var batch pgx.Batch
	var left int64
	batch.Queue(d.sql.purge, text(c.Name))
	batch.Queue(d.sql.look, text(c.Name), int64(c.Token), c.ID, c.Seats == 1).QueryRow(func(row pgx.Row) error {
		return row.Scan(&s.mine, &s.ahead, &s.before, &left)
	})
	if err := d.pool.SendBatch(ctx, &batch).Close(); err != nil {
		return s, d.classify(ctx, err)
	}
	s.left = time.Duration(left) * time.Microsecond
	return s, nil
}

// Release implements driver.Queue.
func (d *Driver) Release(ctx context.Context, c driver.Claim) error {
	return d.one(ctx, d.sql.release, text(c.Name), c.ID, d.opts.Schema)
}

// Watch implements driver.Watcher.
func (d *Driver) Watch(ctx context.Context, name string, emit func(driver.Holder) error) error {
	ctx, cancel := d.life.Within(ctx)
	defer cancel()
	var ear *ears.Ear
	for {
		if ear != nil {
			ear.Hear(ears.Anyone)
		}
		var holder driver.Holder
		var token, left int64
		err := d.pool.QueryRow(ctx, d.sql.holder, text(name)).Scan(&token, &holder.Value, &left)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return d.classify(ctx, err)
		}
		holder.Token = driver.Token(token)
		if err := emit(holder); err != nil {
			return err
		}
		if ear == nil { // only now: who asks once listens to nobody
			var leave func()
			ear, leave = d.ears.Listen(text(name))
			defer leave()
			continue
		}
		wait := d.opts.Poll
		if token != 0 {
			ear.Hear(token)
			wait = min(wait, max(time.Duration(left)*time.Microsecond, soon))
		}
		if err := ear.Wait(ctx, wait); err != nil {
			return d.classify(ctx, err)
		}
	}
}
