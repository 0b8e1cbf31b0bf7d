// Package kv keeps key-value items in many engines behind one interface: memory, one machine's disk, a cluster.
//
//	store := kv.New(memkv.New(nil), &kv.Options{Name: "carts"})
//	defer store.Close()
//	if err := store.Require(kv.CAS, kv.Watch); err != nil { … }
//	version, err := store.Put(ctx, "cart/7", []byte("two apples"), kv.TTL(time.Hour))
//	_, err = store.Put(ctx, "cart/7", []byte("three apples"), kv.IfVersion(version)) // ErrConflict if another writer came first
//
// A [Store] validates calls, observes them and wraps their errors. Its driver translates them for the engine.
//
// # Guarantees
//
//   - Keys are any non-empty UTF-8, and every key round-trips. Keys and values over the engine's limits are refused with
//     [ErrTooLarge] before anything is sent.
//   - An item changes its [Version] with every write, and no version of a key comes twice. [IfVersion] and [IfAbsent] are
//     atomic compare-and-set.
//   - A TTL outside the engine's limits is refused with [ErrInvalid]. Within them it is rounded up to
//     Capabilities.TTL.Granularity. An item never disappears before its TTL ends.
//   - A refused call has written nothing: [ErrInvalid], [ErrTooLarge], [ErrConflict], [ErrClosed], errors.ErrUnsupported.
//     After [ErrUnavailable], or the end of the context, a write may have happened.
//   - A watch eventually shows the latest state of every key, whatever happens to the connection. It reconnects by itself, and resumes
//     or resyncs between [EventResync] and [EventSynced].
//   - A call that an engine cannot serve always returns errors.ErrUnsupported. [Store.Require] checks that at start-up.
//
// # Errors
//
// Every error is an [*Error] that names the operation and the key, and wraps one of the sentinels below, the error of the context, or
// errors.ErrUnsupported. The engine's own error stays reachable by errors.As. kv.ErrUnavailable, sync.ErrUnavailable and
// config.ErrUnavailable are the same value. The same holds for all errors that share a name.
//
// # Telemetry
//
// Scope github.com/go-os/go-os/state/kv. Each call is one span of kind client, named by the operation and Options.Name, and one point on
// the histogram db.client.operation.duration, in seconds. Operations: get, put, delete, update (one for all attempts), list (one for each
// page), get_many, put_many, ping, lease_grant, lease_renew, lease_revoke.
//
// Attributes of both: db.system.name (the engine), db.operation.name, db.collection.name (Options.Name, if set), and on
// failure error.type: not_found, conflict, invalid, too_large, unavailable, denied, closed, canceled, timeout, unsupported
// or _OTHER. On spans alone: goos.kv.key (the key, or the prefix of a listing), db.operation.batch.size and
// goos.kv.update.attempts.
//
// A watch has no span, since it may last for days. It has events, which are written to the Logger if OTel events are not enabled:
//
//   - goos.kv.watch.lost (warning): the connection of a watch is lost; with goos.kv.key and exception.*
//   - goos.kv.watch.resync (info): a watch begins, or starts over, with a snapshot; with goos.kv.key
//   - goos.kv.lease.lost (warning): a lease under Run has ended; with exception.*
//
// A [Mirror] emits goos.kv.mirror.invalid (warning) for an item that does not decode, with goos.kv.key and exception.*, and counts these
// in goos.kv.mirror.invalid_items, with db.system.name and db.collection.name.
package kv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/telemetry"
)

// The errors of this package.
var (
	// ErrNotFound: the key, or the lease, does not exist.
	ErrNotFound = driver.ErrNotFound
	// ErrConflict: the item is not in the state that IfAbsent or IfVersion expects. Read it again.
	ErrConflict = driver.ErrConflict
	// ErrInvalid: the call is invalid, and a retry fails, too: an empty key, contradictory options, a TTL outside the limits.
	ErrInvalid = driver.ErrInvalid
	// ErrTooLarge: the key or the value is over the engine's limit.
	ErrTooLarge = driver.ErrTooLarge
	// ErrUnavailable: the engine did not answer. A write may have happened.
	ErrUnavailable = driver.ErrUnavailable
	// ErrDenied: the engine refuses the client, whose credentials or permissions are insufficient. A retry fails until they are granted.
	ErrDenied = driver.ErrDenied
	// ErrClosed: the store was closed.
	ErrClosed = driver.ErrClosed
)

// Error is the error of every operation of this package.
type Error struct {
	// Op is the operation, as in the telemetry: "get", "put", …, and "watch", "mirror", "near", "require".
	Op string
	// Key is the key, the prefix of a listing or a watch, or empty.
	Key string
	// Err is the cause.
	Err error
}

// Error implements error. A long key is cut short.
func (e *Error) Error() string {
	const longest = 64
	switch {
	case e.Key == "" && (keyless[e.Op] || !errors.Is(e.Err, ErrInvalid)):
		return fmt.Sprintf("kv: %s: %v", e.Op, e.Err)
	case len(e.Key) > longest:
		return fmt.Sprintf("kv: %s %q…: %v", e.Op, e.Key[:longest], e.Err)
	default:
		return fmt.Sprintf("kv: %s %q: %v", e.Op, e.Key, e.Err)
	}
}

// keyless are the operations without a key. In all others, an empty key may be the mistake.
var keyless = map[string]bool{
	"require": true, "ping": true, "get_many": true, "put_many": true, "lease_grant": true, "lease_renew": true, "lease_revoke": true,
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Item is a key with its value.
//
//	type Item struct {
//		Key     string        // name of the item
//		Value   []byte        // never nil in an item that exists, but may be empty
//		Version Version       // changes with every write of the key
//		TTL     time.Duration // time left, if the engine reports it; zero means no TTL, or unknown
//	}
type Item = driver.Item

// Version identifies one state of one key. It is opaque: compare versions for equality only. Zero is no version.
//
//	type Version uint64
type Version = driver.Version

// Capabilities describe the features and the limits of an engine.
//
//	type Capabilities struct {
//		System    string           // name of the engine, the value of db.system.name
//		Abilities Ability          // set of the engine's abilities
//		TTL       driver.TTLLimits // limits of TTLs and leases
//		MaxKey    int              // length of the longest key, in bytes; zero means no limit
//		MaxValue  int              // length of the longest value, in bytes; zero means no limit
//		MaxBatch  int              // items in one request of a batch; zero means no limit
//	}
//
// Capabilities.Has reports whether the engine has all of some abilities. Package driver has the details.
type Capabilities = driver.Capabilities

// Ability is an optional feature of engines, such as Watch. Abilities combine with |.
//
//	type Ability uint32
type Ability = driver.Ability

// Result is the outcome of one item of a batch.
//
//	type Result struct {
//		Item Item  // the item that was read; after a write the key and the version
//		Err  error // what Get or Put would have returned
//	}
type Result = driver.Result

// The abilities, for Require.
const (
	CAS          = driver.CAS
	Expiry       = driver.Expiry
	List         = driver.List
	Watch        = driver.Watch
	Batch        = driver.Batch
	Leases       = driver.Leases
	Durable      = driver.Durable
	ExactEvents  = driver.ExactEvents
	SnapshotList = driver.SnapshotList
	FreshReads   = driver.FreshReads
)

// The defaults of Options.
const (
	DefaultPageSize   = 256
	DefaultParallel   = 8
	DefaultBackoff    = 100 * time.Millisecond
	DefaultMaxBackoff = 5 * time.Second
)

// Options configure New.
type Options struct {
	// Name of the key space in telemetry, as db.collection.name, such as "carts". Default: none.
	Name string
	// Telemetry receives spans, metrics and events. A no-op provider turns its signal off.
	Telemetry telemetry.Providers
	// PageSize is the number of items that List requests at a time. Default: DefaultPageSize.
	PageSize int
	// Parallel is the number of concurrent requests of GetMany and PutMany on engines without batches. Default: DefaultParallel.
	Parallel int
	// Backoff is the wait before a watch first reconnects. It doubles up to MaxBackoff, and half of it is random. Default:
	// DefaultBackoff.
	Backoff time.Duration
	// MaxBackoff is the longest such wait. Default: DefaultMaxBackoff.
	MaxBackoff time.Duration
}

// Store is a key space. It is safe for concurrent use.
type Store struct {
	engine *engine
	parent *Store // nil unless this is a namespace
	prefix string // of the whole path of namespaces
	fault  error  // of every call; nil unless the store was created with invalid arguments

	life life.Life
}

// New returns a Store on d, which the store closes. It does no I/O and starts no goroutine. If the driver is nil or was created with
// invalid arguments, or an option is negative, every call and Require return ErrInvalid.
//
// A call waits for the engine until its context ends: give contexts a deadline.
func New(d driver.Driver, opts *Options) *Store {
	if d == nil {
		d = noDriver{}
	}
	o, err := opts.withDefaults()
	return &Store{engine: newEngine(d, o), fault: cmp.Or(invalid(d), err)}
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	return all, cmp.Or(
		defaults.Fill("kv.Options.PageSize", &all.PageSize, DefaultPageSize),
		defaults.Fill("kv.Options.Parallel", &all.Parallel, DefaultParallel),
		defaults.Fill("kv.Options.Backoff", &all.Backoff, DefaultBackoff),
		defaults.Fill("kv.Options.MaxBackoff", &all.MaxBackoff, DefaultMaxBackoff),
	)
}

// invalid returns the error of a driver that was created with invalid arguments, or nil.
func invalid(d driver.Driver) error {
	if v, ok := d.(driver.Validator); ok {
		return v.Validate()
	}
	return nil
}

// Get returns the item at key, or ErrNotFound. The value belongs to the caller.
func (s *Store) Get(ctx context.Context, key string) (item Item, err error) {
	ctx, call := s.engine.get.Start(ctx, key)
	defer call.End(ctx, &err)
	full, err := s.admit(ctx, key)
	if err != nil {
		return Item{}, err
	}
	if item, err = s.engine.Get(ctx, full); err != nil {
		return Item{}, err
	}
	item.Key = key
	return item, nil
}

// Put writes a value and returns its version. Without TTL or WithLease the item loses its TTL or lease. Put returns ErrConflict if the
// item is not as IfAbsent or IfVersion expects, and ErrTooLarge if the value is over the limit. It returns ErrInvalid if options
// contradict each other or a TTL is outside the engine's limits, and ErrNotFound if a lease has ended.
func (s *Store) Put(ctx context.Context, key string, value []byte, opts ...PutOption) (version Version, err error) {
	ctx, call := s.engine.put.Start(ctx, key)
	defer call.End(ctx, &err)
	req, err := s.putRequest(ctx, key, value, opts)
	if err != nil {
		return 0, err
	}
	return s.engine.Put(ctx, req)
}

// Delete removes the item at key. A missing item is not an error. With IfVersion, Delete returns ErrConflict if the item is missing or
// has another version.
func (s *Store) Delete(ctx context.Context, key string, opts ...DeleteOption) (err error) {
	ctx, call := s.engine.del.Start(ctx, key)
	defer call.End(ctx, &err)
	req, err := s.deleteRequest(ctx, key, opts)
	if err != nil {
		return err
	}
	return s.engine.Delete(ctx, req)
}

// pinged is the key that Ping reads. It need not exist: an engine that reports it missing is alive.
const pinged = "ping"

// Ping returns nil if the engine answers.
func (s *Store) Ping(ctx context.Context) (err error) {
	ctx, call := s.engine.ping.Start(ctx, "")
	defer call.End(ctx, &err)
	if err := s.usable(ctx); err != nil {
		return err
	}
	if p, ok := s.engine.Driver.(driver.Pinger); ok {
		return p.Ping(ctx)
	}
	key, err := s.full(pinged) // below the namespace, since the client may lack permission for other keys
	if err != nil {
		return err
	}
	if _, err := s.engine.Get(ctx, key); !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

// Capabilities returns the features and the limits of the engine. In a namespace, MaxKey is the length that remains for the keys of the
// namespace.
func (s *Store) Capabilities() Capabilities {
	caps := s.engine.caps
	if caps.MaxKey > 0 {
		caps.MaxKey = max(caps.MaxKey-len(s.prefix), 1)
	}
	return caps
}

// Require returns nil if the engine has all of these abilities. Otherwise its error wraps errors.ErrUnsupported and names the missing
// ones. It returns ErrInvalid if the store was created with invalid arguments. Call it at start-up: every later use fails with the same
// error.
func (s *Store) Require(abilities ...Ability) error {
	var all Ability
	for _, a := range abilities {
		all |= a
	}
	if err := cmp.Or(s.fault, s.engine.able(all)); err != nil {
		return &Error{Op: "require", Err: err}
	}
	return nil
}

// Name returns Options.Name.
func (s *Store) Name() string { return s.engine.opts.Name }

// Telemetry returns Options.Telemetry, so that packages built on a store can use the same providers.
func (s *Store) Telemetry() telemetry.Providers { return s.engine.opts.Telemetry }

// Close closes the driver. It ends all watches with ErrClosed, and later calls return ErrClosed. A second Close does nothing. Closing a
// namespace leaves its parent open.
func (s *Store) Close() error {
	if !s.life.End() || s.parent != nil {
		return nil
	}
	if err := s.engine.Driver.Close(); err != nil {
		return &Error{Op: "close", Err: err}
	}
	return nil
}
