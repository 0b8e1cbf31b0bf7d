// Package boltkv keeps key-value items on one machine's disk, in a file of bbolt.
//
// Guarantees:
//   - An acknowledged write is on the disk. It survives the end of the process, even by kill -9, and a crash of the machine if the disk
//     honours fsync.
//   - Writes are atomic and totally ordered. Concurrent writes share a transaction, and so one fsync: many writers have a multiple of the
//     throughput of one.
//   - TTLs are wall-clock times and continue while the process is down. Open removes items that expired meanwhile.
//   - A watch sees every change in order. Its history is in memory: after a restart a resumed watch starts over with a snapshot.
//   - Each page of a listing shows one moment, and no transaction stays open between pages.
//   - Only one process at a time can open the file.
//   - A truncated or damaged file is an error that names the file, never a panic. Open or the call that finds the damage returns it. Other
//     items stay readable. Open checks the size of the file and its first pages, not every page.
package boltkv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/internal/feed"
)

const (
	// MaxKey is the length of the longest key, in bytes: bbolt's limit less the expiry time, which precedes the key in an index.
	MaxKey = bbolt.MaxKeySize - stampSize

	// DefaultMaxValue is the length of the longest value, in bytes.
	DefaultMaxValue = 64 << 20
	// DefaultLockTimeout is how long Open waits for another process to close the file.
	DefaultLockTimeout = time.Second
)

// Options configure Open.
type Options struct {
	// History is how many changes the store remembers for watches that resume or lag. Default: 10,000.
	History int
	// MaxValue is the length of the longest value, in bytes. Default: DefaultMaxValue.
	MaxValue int
	// LockTimeout is how long Open waits for another process to close the file. Default: DefaultLockTimeout.
	LockTimeout time.Duration
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	return all, cmp.Or(
		defaults.Fill("boltkv.Options.History", &all.History, feed.DefaultLength),
		defaults.Fill("boltkv.Options.MaxValue", &all.MaxValue, DefaultMaxValue),
		defaults.Fill("boltkv.Options.LockTimeout", &all.LockTimeout, DefaultLockTimeout),
	)
}

// Driver is the engine. It is safe for concurrent use.
type Driver struct {
	db   *bbolt.DB
	caps driver.Capabilities
	feed *feed.Feed

	commit sync.Mutex // held from the start of a write transaction until feed has its events, so that both have one order

	mu      sync.Mutex // guards the fields below
	queue   []*command // writes that wait for a transaction
	leading bool       // a goroutine processes the queue
	alarm   *time.Timer
	closed  bool
	work    sync.WaitGroup // of the leading goroutine
}

// Open opens the file at path, or creates it, and removes items that have expired. It returns an error that names the file if another
// process has opened it, or if it is truncated, damaged, or not a file of this package. The file is then unlocked.
func Open(path string, opts *Options) (*Driver, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("boltkv: %w", err)
	}
	db, err := openFile(path, o.LockTimeout)
	if err != nil {
		return nil, fmt.Errorf("boltkv: %w", err)
	}
	var last driver.Version
	err = guarded(path, func() (err error) {
		if last, err = prepare(db); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("boltkv: %w", err), db.Close())
	}
	d := &Driver{
		db: db,
		caps: driver.Capabilities{
			System: "bbolt",
			Abilities: driver.CAS | driver.Expiry | driver.List | driver.Watch | driver.Batch |
				driver.Durable | driver.ExactEvents | driver.FreshReads,
			TTL:      driver.TTLLimits{Min: time.Millisecond, Max: maxTTL},
			MaxKey:   MaxKey,
			MaxValue: o.MaxValue,
		},
		feed: feed.New(o.History, last),
	}
	if err := d.apply(context.Background(), nothing); err != nil {
		return nil, errors.Join(fmt.Errorf("boltkv: %w", err), d.Close())
	}
	return d, nil
}

// nothing is a write that only removes expired items, as every write does first.
func nothing(*writer) error { return nil }

// Capabilities implements driver.Driver.
func (d *Driver) Capabilities() driver.Capabilities { return d.caps }

// Get implements driver.Driver.
func (d *Driver) Get(ctx context.Context, key string) (it driver.Item, err error) {
	err = d.view(ctx, func(tx *bbolt.Tx) error {
		it, err = read(tx, key, time.Now())
		return err
	})
	return it, err
}

// Put implements driver.Driver.
func (d *Driver) Put(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
	var version driver.Version // not a named result: the transaction may set it after the context has ended
	err := d.apply(ctx, func(w *writer) (err error) {
		version, err = w.put(req)
		return err
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

// Delete implements driver.Driver.
func (d *Driver) Delete(ctx context.Context, req driver.DeleteRequest) error {
	return d.apply(ctx, func(w *writer) error { return w.delete(req) })
}

// Path returns the path of the file.
func (d *Driver) Path() string { return d.db.Path() }

// Compact discards the history of changes. Watches that resume from an earlier position resync with a snapshot.
func (d *Driver) Compact() { d.feed.Compact() }

// Close implements driver.Driver. It waits for the transaction that is being written.
func (d *Driver) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	if d.alarm != nil {
		d.alarm.Stop()
	}
	d.mu.Unlock()
	d.feed.Close()
	d.work.Wait()
	return d.db.Close()
}

// view reads in one transaction.
func (d *Driver) view(ctx context.Context, do func(*bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var failed error // of do, already classified
	err := guarded(d.db.Path(), func() error {
		return d.db.View(func(tx *bbolt.Tx) error { failed = do(tx); return nil })
	})
	if err != nil {
		return classify(err)
	}
	return located(d.db.Path(), failed)
}

// classify adds the class to an error of bbolt. Disk errors are ErrUnavailable.
func classify(err error) error {
	switch {
	case errors.Is(err, driver.ErrUnavailable):
		return err
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		return driver.Classify(driver.ErrClosed, err)
	}
	return driver.Classify(driver.ErrUnavailable, err)
}

// maxTTL keeps times in nanoseconds from overflowing.
const maxTTL = 100 * 365 * 24 * time.Hour
