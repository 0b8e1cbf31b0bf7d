// Package pgsync is a driver of state/sync for PostgreSQL.
//
//	pool, err := pgxpool.New(ctx, url)
//	…
//	if err := pgsync.Migrate(ctx, pool, nil); err != nil { … } // once, at the start
//	session := sync.New(pgsync.New(pool, nil), nil)
//
// A lease is a row with the time at which it ends, a claim is a row with a token that the name's row has counted up, and goes with its
// lease. Advisory locks are not used: they belong to a connection, which a pool hands on to somebody else, and give no token.
//
// Guarantees:
//   - SessionBound: across crashes and restarts of the server, since every step is a committed transaction (with synchronous_commit on, as
//     it is by default). A fail-over to a replica that lags behind may lose the last of them, unless replication is synchronous.
//   - Time is the server's wall clock. If it is set forward by more than sync.Options.Margin, leases may end before their holders know; tokens
//     grow even then.
//   - A waiter is told by NOTIFY when the claim right before its own goes, and looks by itself when the lease of that claim should be over,
//     and every Options.Poll in case a notification was lost. For a semaphore, each claim that goes wakes all waiters.
//   - No transaction stays open: a lock is one implicit transaction of a few statements sent at once, and so is its release.
//
// A name leaves a row behind for good, which holds its last token: some tens of bytes for each name that was ever used.
//
// Who has waited or observed keeps one connection besides the pool, on which the driver listens until it is closed. Behind a PgBouncer in
// transaction mode nothing is heard there, and Options.Poll is what remains.
package pgsync

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/internal/ears"
	"github.com/go-os/go-os/state/sync/internal/life"
)

const (
	// DefaultSchema is the default of Options.Schema.
	DefaultSchema = "goos_sync"
	// DefaultPoll is the default of Options.Poll.
	DefaultPoll = 5 * time.Second
	// MaxName is the length of the longest name, in bytes: what an index of PostgreSQL takes.
	MaxName = 1 << 10
	// MaxValue is the length of the longest value, in bytes.
	MaxValue = 64 << 10
)

// Options configure New and Migrate.
type Options struct {
	// Schema is where the tables are, and the name of the notifications. Processes that share locks agree on it. Default:
	// DefaultSchema.
	Schema string
	// Poll is how often who waits or observes looks whether it has missed something. Default: DefaultPoll.
	Poll time.Duration
}

func (o *Options) complete() Options {
	all := Options{Schema: DefaultSchema, Poll: DefaultPoll}
	if o != nil {
		if o.Schema != "" {
			all.Schema = o.Schema
		}
		if o.Poll > 0 {
			all.Poll = o.Poll
		}
	}
	return all
}

// Driver is the driver. It is safe for concurrent use.
type Driver struct {
	pool *pgxpool.Pool
	opts Options
	sql  statements
	ears *ears.Ears
	life life.Life
}

// New returns a driver on a pool of two connections at least, which it does not close. Migrate has made the tables.
func New(pool *pgxpool.Pool, opts *Options) *Driver {
	d := &Driver{pool: pool, opts: opts.complete(), life: life.New()}
	d.sql = statementsFor(d.opts.Schema)
	d.ears = ears.New(d.life.Context, d.listen)
	return d
}

// Capabilities implements driver.Driver.
func (*Driver) Capabilities() driver.Capabilities {
	return driver.Capabilities{
		System: "postgresql", Safety: driver.SessionBound, Ordered: true, MaxName: MaxName, MaxValue: MaxValue,
		Lease: driver.LeaseLimits{Min: 500 * time.Millisecond, Max: 365 * 24 * time.Hour, Granularity: time.Millisecond, MaxLateness: time.Second},
	}
}

// Close implements driver.Driver. The pool stays open.
func (d *Driver) Close() error {
	d.life.End()
	d.ears.Wait()
	return nil
}

// Grant implements driver.Leaser. It also removes leases that are long over.
func (d *Driver) Grant(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
	id := rand.Text()
	var batch pgx.Batch
	batch.Queue(d.sql.sweep)
	batch.Queue(d.sql.grant, id, ttl.Microseconds())
	if err := d.pool.SendBatch(ctx, &batch).Close(); err != nil {
		return "", d.classify(ctx, err)
	}
	return driver.LeaseID(id), nil
}

// Renew implements driver.Leaser. The claims go with the lease, so that renewing it renews them; the same statement finds those that
// were removed.
func (d *Driver) Renew(ctx context.Context, id driver.LeaseID, claims []driver.Claim) (gone []driver.Claim, err error) {
	names, tokens := make([]string, len(claims)), make([]int64, len(claims))
	for i, c := range claims {
		names[i], tokens[i] = text(c.Name), int64(c.Token)
	}
	var places []int64
	switch err := d.pool.QueryRow(ctx, d.sql.renew, string(id), names, tokens).Scan(&places); {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, driver.ErrLost
	case err != nil:
		return nil, d.classify(ctx, err)
	}
	for _, at := range places {
		gone = append(gone, claims[at-1])
	}
	return gone, nil
}

// one executes a statement that must find its row.
func (d *Driver) one(ctx context.Context, statement string, args ...any) error {
	done, err := d.pool.Exec(ctx, statement, args...)
	switch {
	case err != nil:
		return d.classify(ctx, err)
	case done.RowsAffected() == 0:
		return driver.ErrLost
	default:
		return nil
	}
}

// Revoke implements driver.Leaser.
func (d *Driver) Revoke(ctx context.Context, id driver.LeaseID) error {
	if _, err := d.pool.Exec(ctx, d.sql.revoke, string(id), d.opts.Schema); err != nil {
		return d.classify(ctx, err)
	}
	return nil
}

// text escapes the zero byte, which PostgreSQL's text cannot hold.
func text(name string) string {
	return strings.NewReplacer("\x00", "\x01\x02", "\x01", "\x01\x01").Replace(name)
}

// classify gives an error of the client its class; its own stays reachable.
func (d *Driver) classify(ctx context.Context, err error) error {
	var said *pgconn.PgError
	class := d.life.Ended(ctx)
	switch {
	case class != nil:
	case errors.As(err, &said) && said.Code == "42P01":
		return fmt.Errorf("the tables are missing: call pgsync.Migrate: %w", err)
	case errors.As(err, &said) && !passes(said.Code):
		return err
	default:
		class = driver.ErrUnavailable
	}
	return fmt.Errorf("%w: %w", class, err)
}

// passes reports whether an SQLSTATE tells of what may be over when the call is made again: connections, resources, the operator, and
// transactions that met another.
func passes(code string) bool {
	for _, class := range []string{"08", "40", "53", "57", "58", "XX"} {
		if strings.HasPrefix(code, class) {
			return true
		}
	}
	return code == "55P03" || code == "25006" // a lock that was not to be had; a server that only reads, as after a fail-over
}
