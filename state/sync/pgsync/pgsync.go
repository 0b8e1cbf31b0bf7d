// Package pgsync is a driver of state/sync for PostgreSQL.
//
//	pool, err := pgxpool.New(ctx, url)
//	…
//	if err := pgsync.Migrate(ctx, pool, nil); err != nil { … } // once, at start-up
//	session := sync.New(pgsync.New(pool, nil), nil)
//
// A lease is a row with the time at which it ends. A claim is a row with a token from a counter in the name's row, and is deleted with its
// lease. The driver does not use advisory locks, which belong to a connection of the pool and have no token.
//
// Guarantees:
//   - SessionBound: locks survive crashes and restarts of the server, since every step is a committed transaction. The driver turns
//     synchronous_commit on if a role or a database has turned it off. A fail-over to a lagging replica may lose the last transactions,
//     unless replication is synchronous.
//   - A waiter is notified when the claim right before its own is deleted. It also checks when the lease of that claim should have ended,
//     and every Options.Poll in case a notification was lost. The waiters of a semaphore wake at each deletion of a claim.
//   - A step is one message to the server. The step starts when the server has the whole message, and needs nothing else to commit. A
//     client that stops in the middle leaves no transaction open and holds no lock.
//   - Each step sets the parameters that it needs: isolation level, read-write access, timeouts of statements and of locks, search_path. The
//     defaults of a role or a database do not matter, except transaction_timeout (PostgreSQL 17), which must be longer than a step takes.
//   - Acquisitions wait for a row lock one at a time for each name, and on fewer connections than the pool has. A name whose row is
//     locked for long delays neither other names nor renewals.
//
// # Clocks
//
// Leases use the server's wall clock. If it steps forward by more than sync.Options.Margin, leases may end before their holders know: two
// processes may hold a name until the first one's deadline, at most a TTL. Tokens still increase, so a sync.Fence refuses the first one.
// If the clock steps back, no lease ends early. A lease that would end late gets its TTL anew when the next acquisition, waiter or Grant
// finds it.
//
// # Poolers
//
// The pool may connect to PgBouncer, in every pool mode: the driver uses no prepared statements. After the first wait or observation, the
// driver has one more connection, on which it listens. Behind a pooler it would receive nothing, so it does not listen, and a seat is
// handed over within Options.Poll. To receive notifications there, set Options.Listen to a direct connection.
//
// Each name permanently leaves a row with its last token: some tens of bytes for each name ever used.
package pgsync

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/internal/notify"
)

const (
	// DefaultSchema is the default of Options.Schema.
	DefaultSchema = "goos_sync"
	// DefaultPoll is the default of Options.Poll.
	DefaultPoll = 5 * time.Second
	// MaxName is the length of the longest name, in bytes. It fits into an index of PostgreSQL.
	MaxName = 1 << 10
	// MaxValue is the length of the longest value, in bytes.
	MaxValue = 64 << 10
)

// Options configure New and Migrate.
type Options struct {
	// Schema holds the tables, and names the channel of the notifications: at most 63 bytes. Processes that share locks must use the same
	// schema. Default: DefaultSchema.
	Schema string
	// Poll is the interval at which a waiter or an observer checks for a missed notification. Default: DefaultPoll.
	Poll time.Duration
	// Listen is the connection on which the driver listens for notifications. It must reach the server itself, or a pooler in session
	// mode. Default: the pool's configuration; if that connects to a pooler, the driver does not listen.
	Listen *pgx.ConnConfig
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	all.Schema = cmp.Or(all.Schema, DefaultSchema)
	return all, defaults.Fill("pgsync.Options.Poll", &all.Poll, DefaultPoll)
}

// Driver implements driver.Driver. It is safe for concurrent use.
type Driver struct {
	pool   *pgxpool.Pool
	opts   Options
	tracer pgx.QueryTracer // of the pool; nil if it has none
	gate   *gate
	hub    *notify.Hub
	fault  error // of every call; nil unless New was given invalid arguments
	life   life.Life
}

// New returns a driver on a pool of at least two connections, which it does not close. Call Migrate first.
func New(pool *pgxpool.Pool, opts *Options) *Driver {
	o, err := opts.withDefaults()
	d := &Driver{pool: pool, opts: o, fault: cmp.Or(defaults.Given("pgsync: New", "pool", pool), err)}
	d.hub = notify.New(&d.life, d.listen)
	if d.fault == nil {
		config := pool.Config()
		d.tracer, d.gate = config.ConnConfig.Tracer, newGate(int(config.MaxConns)-1)
	}
	return d
}

// Validate implements driver.Validator.
func (d *Driver) Validate() error { return d.fault }

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
	d.hub.Wait()
	return nil
}

// Grant implements driver.Leaser. It also deletes leases that ended more than a minute ago.
func (d *Driver) Grant(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
	id := rand.Text()
	if _, err := d.exec(ctx, grantLease, id, ttl.Microseconds()); err != nil {
		return "", err
	}
	return driver.LeaseID(id), nil
}

// Renew implements driver.Leaser. The claims are deleted with the lease, so renewing it renews them. The same statement finds missing
// claims.
func (d *Driver) Renew(ctx context.Context, id driver.LeaseID, claims []driver.Claim) (gone []driver.Claim, err error) {
	names, tokens := make([]string, len(claims)), make([]int64, len(claims))
	for i, c := range claims {
		names[i], tokens[i] = text(c.Name), int64(c.Token)
	}
	result, err := d.exec(ctx, renewLease, string(id), names, tokens)
	if err != nil {
		return nil, err
	}
	if len(result.Rows) == 0 {
		return nil, driver.ErrLost
	}
	for place := range strings.FieldsSeq(string(result.Rows[0][0])) {
		at, err := strconv.Atoi(place)
		if err != nil || at < 1 || at > len(claims) {
			return nil, fmt.Errorf("%w: claim %q of %d is missing", driver.ErrUnavailable, place, len(claims))
		}
		gone = append(gone, claims[at-1])
	}
	return gone, nil
}

// one runs statements, and returns driver.ErrLost if the last one affects no row.
func (d *Driver) one(ctx context.Context, statements string, args ...any) error {
	result, err := d.exec(ctx, statements, args...)
	switch {
	case err != nil:
		return err
	case result.CommandTag.RowsAffected() == 0:
		return driver.ErrLost
	default:
		return nil
	}
}

// Revoke implements driver.Leaser.
func (d *Driver) Revoke(ctx context.Context, id driver.LeaseID) error {
	_, err := d.exec(ctx, revokeLease, string(id), d.opts.Schema)
	return err
}

// text escapes the zero byte, which PostgreSQL's text cannot hold.
func text(name string) string {
	return strings.NewReplacer("\x00", "\x01\x02", "\x01", "\x01\x01").Replace(name)
}

// The SQLSTATEs that the driver knows.
const (
	featureNotSupported   = "0A000"
	readOnlyTransaction   = "25006"
	insufficientPrivilege = "42501"
	undefinedTable        = "42P01"
	lockNotAvailable      = "55P03"
)

// classify adds the class to an error of the client, which stays reachable.
func (d *Driver) classify(ctx context.Context, err error) error {
	var refused *pgconn.PgError
	class := d.life.Cause(ctx)
	switch {
	case class != nil:
	case errors.As(err, &refused) && refused.Code == undefinedTable:
		return fmt.Errorf("a table is missing: call pgsync.Migrate: %w", err)
	case errors.As(err, &refused) && refused.Code == insufficientPrivilege:
		class, err = driver.ErrDenied, fmt.Errorf("the role lacks a right: pgsync.Migrate names it: %w", err)
	case errors.As(err, &refused) && !transient(refused):
		return err
	default:
		class = driver.ErrUnavailable
	}
	return driver.Classify(class, err)
}

// transient reports whether a retry may succeed. It may after errors of connections or resources, operator intervention, and conflicts
// with other transactions. It also may after errors of a read-only server, such as the old primary after a fail-over.
func transient(refused *pgconn.PgError) bool {
	switch refused.Code {
	case lockNotAvailable, readOnlyTransaction, featureNotSupported:
		return true // a standby refuses SET TRANSACTION READ WRITE as an unsupported feature
	}
	for _, class := range []string{"08", "40", "53", "57", "58", "XX"} {
		if strings.HasPrefix(refused.Code, class) {
			return true
		}
	}
	return false
}
