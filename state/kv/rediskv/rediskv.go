// Package rediskv keeps key-value items in Redis, or in a server that speaks its protocol, such as Valkey.
//
//	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{"127.0.0.1:6379"}})
//	…
//	store := kv.New(rediskv.New(client, nil), nil)
//
// # Items
//
// An item is one string under its own key: eight bytes of version, then the value. A write is one SET, a read one GET, and a conditional
// write one script on one key. Everything therefore works on a Redis Cluster as well, and redis-cli shows the items.
//
// # Listing
//
// Redis keeps no order. A listing scans the whole database (SCAN), but transfers only the keys below the prefix. It sorts them in memory,
// and reads their values page by page. Each page shows the moment at which it is read. Programs that share a server should each use their
// own database. Do not list large databases.
//
// # No watch
//
// Redis publishes changes only to clients that are connected at that moment. Changes during a lost connection are never sent. A watch
// would miss them without an error, so the driver has none.
//
// # Client-side caching
//
// With Options.CacheTTL a Get is answered from the memory of this process, and the server reports when a cached key has changed (RESP3
// tracking):
//
//   - A Get after a write of the same Driver sees that write, and a Get after a conflict sees the item that caused it. Each write
//     therefore reads its key again, which costs a second request and caches the key.
//   - A Get sees the writes of other processes as soon as the server's message has arrived.
//   - When the connection is lost, the cache is emptied. When it is cut silently, a Get may be stale until the client notices
//     (ClientOption.ConnWriteTimeout, ten seconds by default), but never for longer than CacheTTL.
//   - Conditional writes, listings and batches do not use the cache.
//
// # Reads
//
// Without a cache a read sees every acknowledged write if the client reads from the primary. With ClientOption.ReplicaOnly or
// SendToReplicas it reads from replicas, which lag: do not hand such a client to New. With Options.CacheTTL the driver does not declare
// kv.FreshReads.
//
// # Durability
//
// Durability depends on the configuration of the server. By default Redis acknowledges writes that are only in memory. Set Options.Durable
// if the server runs with "appendonly yes" and "appendfsync always". Replication is asynchronous even then: a fail-over may lose
// acknowledged writes, and undo conditional ones.
package rediskv

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/redis/rueidis"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/state/internal/rediserr"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/internal/sealed"
)

const (
	// MaxKey is the length of the longest key, in bytes. Redis accepts longer ones, but each listing scans all keys.
	MaxKey = 64 << 10
	// DefaultMaxValue is the default of Options.MaxValue.
	DefaultMaxValue = 16 << 20
	// DefaultMaxBatch is the maximum number of items in one request.
	DefaultMaxBatch = 1000
)

// Options configure New.
type Options struct {
	// MaxValue is the length of the longest value, in bytes, up to 512 MiB less 8 bytes (proto-max-bulk-len). Redis serves no other client
	// while it processes a value. Default: DefaultMaxValue.
	MaxValue int
	// CacheTTL enables client-side caching, and is the longest time for which a Get may be answered from memory. The client must not have
	// DisableCache, and its CacheSizeEachConn limits the memory. Default: no caching.
	CacheTTL time.Duration
	// Durable declares that the server writes to disk before it acknowledges: appendonly yes, appendfsync always. Default: false.
	Durable bool
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	return all, cmp.Or(
		defaults.Fill("rediskv.Options.MaxValue", &all.MaxValue, DefaultMaxValue),
		defaults.Fill("rediskv.Options.CacheTTL", &all.CacheTTL, 0),
	)
}

// Driver implements driver.Driver. It is safe for concurrent use.
type Driver struct {
	client   rueidis.Client
	caps     driver.Capabilities
	cacheTTL time.Duration
	fault    error // of every call; nil unless New was given invalid arguments
	life     life.Life
}

// New returns a driver on a client, which it does not close.
func New(client rueidis.Client, opts *Options) *Driver {
	o, err := opts.withDefaults()
	abilities := driver.CAS | driver.Expiry | driver.List | driver.Batch
	if o.Durable {
		abilities |= driver.Durable
	}
	if o.CacheTTL == 0 {
		abilities |= driver.FreshReads
	}
	return &Driver{client: client, cacheTTL: o.CacheTTL, fault: cmp.Or(defaults.Given("rediskv: New", "client", client), err), caps: driver.Capabilities{
		System:    "redis",
		Abilities: abilities,
		TTL:       driver.TTLLimits{Min: time.Millisecond, Max: maxTTL, Granularity: time.Millisecond, MaxLateness: maxLateness},
		MaxKey:    MaxKey,
		MaxValue:  o.MaxValue,
		MaxBatch:  DefaultMaxBatch,
	}}
}

const (
	// maxTTL keeps times in milliseconds from overflowing in Redis.
	maxTTL = 100 * 365 * 24 * time.Hour
	// maxLateness: Redis does not return an expired key, by a clock of milliseconds.
	maxLateness = 10 * time.Millisecond
)

// Validate implements driver.Validator.
func (d *Driver) Validate() error { return d.fault }

// Capabilities implements driver.Driver.
func (d *Driver) Capabilities() driver.Capabilities { return d.caps }

// Get implements driver.Driver. It does not return the TTL, which would need another command.
func (d *Driver) Get(ctx context.Context, key string) (driver.Item, error) {
	if d.cacheTTL > 0 {
		return d.cached(ctx, key)
	}
	return d.item(ctx, key, d.client.Do(ctx, d.get(key)))
}

// get returns the command that reads a key. All commands that the client repeats after a lost connection must be pinned. The client reuses the
// memory of a command that was answered, while the goroutine of the lost connection may still read it.
func (d *Driver) get(key string) rueidis.Completed {
	return d.client.B().Get().Key(key).Build().Pin()
}

// item returns the item in the answer to a GET.
func (d *Driver) item(ctx context.Context, key string, result rueidis.RedisResult) (driver.Item, error) {
	stored, err := result.AsBytes()
	if err != nil {
		return driver.Item{}, d.classify(ctx, err)
	}
	version, value, err := sealed.Open(stored)
	if err != nil {
		return driver.Item{}, err
	}
	return driver.Item{Key: key, Value: value, Version: version}, nil
}

// Put implements driver.Driver.
func (d *Driver) Put(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
	version := sealed.NewVersion()
	if err := d.awaitCache(ctx, req.Key, version, d.written(ctx, d.client.Do(ctx, d.put(req, version)))); err != nil {
		return 0, err
	}
	return version, nil
}

// Delete implements driver.Driver.
func (d *Driver) Delete(ctx context.Context, req driver.DeleteRequest) error {
	command := d.client.B().Del().Key(req.Key).Build()
	if req.IfVersion != 0 {
		head := string(sealed.Seal(req.IfVersion, nil))
		command = d.client.B().Eval().Script(deleteIf).Numkeys(1).Key(req.Key).Arg(head).Build()
	}
	return d.awaitCache(ctx, req.Key, 0, d.written(ctx, d.client.Do(ctx, command)))
}

// Ping implements driver.Pinger.
func (d *Driver) Ping(ctx context.Context) error {
	return d.classify(ctx, d.client.Do(ctx, d.client.B().Ping().Build().Pin()).Error())
}

// Close implements driver.Driver. The client stays open.
func (d *Driver) Close() error {
	d.life.End()
	return nil
}

// classify adds the class to an error of the client, which stays reachable. It returns nil for nil.
func (d *Driver) classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	class := rediserr.Class(err)
	switch {
	case class == driver.ErrNotFound:
		return driver.ErrNotFound
	case ctx.Err() != nil:
		class = ctx.Err()
	case errors.Is(err, rueidis.ErrClosing) && d.life.Err() != nil:
		class = driver.ErrClosed
	case class == nil:
		return err // a retry cannot fix it
	}
	return driver.Classify(class, err)
}
