// Package memcachedkv keeps key-value items in memcached.
//
//	client := memcache.New("127.0.0.1:11211")
//	store := kv.New(memcachedkv.New(client, nil), nil)
//
// memcached is a cache: it loses all items when it ends, and evicts the least used ones when it is full. A lost item is kv.ErrNotFound; an
// item that exists is never wrong. There is no listing and no watch, and Durable is not declared.
//
// # Items
//
// An item is eight bytes of version, then the value. The version is the driver's own: memcached's token starts over at one when the
// server restarts, and a write does not return it. A conditional write reads the item and its token, compares the version, and writes
// with the token (gets, cas). It takes two requests and is atomic. A conditional deletion writes an item that has already expired.
//
// # Keys
//
// memcached accepts 250 bytes without spaces and control characters. Those, and the percent sign, are escaped as %XX. A key that is
// longer than 250 bytes when escaped is stored under its SHA-256.
//
// # TTL
//
// memcached counts whole seconds on a clock that ticks once a second, so an item may end up to a second early. The driver adds one second.
// TTLs over 30 days would be times on the clock of the client, and are refused.
//
// # Contexts
//
// The client does not support contexts. A call whose deadline is nearer than twice the client's Timeout (500 ms by default) returns when its
// context ends. Its request continues for that long at most, and may still succeed. Any other call may take that long to notice that its
// context was cancelled. A client keeps two idle connections by default: set MaxIdleConns to the number of concurrent calls.
package memcachedkv

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/internal/sealed"
)

const (
	// MaxKey is the length of the longest key, in bytes.
	MaxKey = 64 << 10
	// DefaultMaxItem is memcached's own default of its option -I.
	DefaultMaxItem = 1 << 20
	// MaxTTL is the longest TTL.
	MaxTTL = 30*24*time.Hour - time.Second

	// envelope is an upper bound of the size of an item without its value: memcached's header, the key and the version.
	envelope = 1 << 10
)

// Options configure New.
type Options struct {
	// MaxItem is the servers' option -I, in bytes. A value may use all of it except 1 KiB. Default: DefaultMaxItem.
	MaxItem int
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	return all, defaults.Fill("memcachedkv.Options.MaxItem", &all.MaxItem, DefaultMaxItem)
}

// Driver implements driver.Driver. It is safe for concurrent use.
type Driver struct {
	client *memcache.Client
	caps   driver.Capabilities
	fault  error // of every call; nil unless New was given invalid arguments
	life   life.Life
}

// New returns a driver on a client, which it does not close.
func New(client *memcache.Client, opts *Options) *Driver {
	o, err := opts.withDefaults()
	return &Driver{client: client, fault: cmp.Or(defaults.Given("memcachedkv: New", "client", client), err), caps: driver.Capabilities{
		System:    "memcached",
		Abilities: driver.CAS | driver.Expiry | driver.FreshReads,
		TTL:       driver.TTLLimits{Min: time.Second, Max: MaxTTL, Granularity: time.Second, MaxLateness: 2 * time.Second},
		MaxKey:    MaxKey,
		MaxValue:  max(o.MaxItem-envelope, 1),
	}}
}

// Validate implements driver.Validator.
func (d *Driver) Validate() error { return d.fault }

// Capabilities implements driver.Driver.
func (d *Driver) Capabilities() driver.Capabilities { return d.caps }

// Get implements driver.Driver. It does not return the TTL, which memcached does not report.
func (d *Driver) Get(ctx context.Context, key string) (driver.Item, error) {
	version, found, err := d.find(ctx, key)
	if err != nil {
		return driver.Item{}, err
	}
	return driver.Item{Key: key, Value: found.Value[sealed.Overhead:], Version: version}, nil
}

// find reads an item with its token.
func (d *Driver) find(ctx context.Context, key string) (driver.Version, *memcache.Item, error) {
	found, err := within(ctx, d.longest(), func() (*memcache.Item, error) { return d.client.Get(escape(key)) })
	if err != nil {
		return 0, nil, d.classify(ctx, err)
	}
	version, _, err := sealed.Open(found.Value)
	return version, found, err
}

// Put implements driver.Driver.
func (d *Driver) Put(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
	version := sealed.NewVersion()
	item := &memcache.Item{Key: escape(req.Key), Value: sealed.Seal(version, req.Value), Expiration: seconds(req.TTL)}
	var err error
	switch {
	case req.IfVersion != 0:
		err = d.swap(ctx, req.Key, req.IfVersion, item)
	case req.IfAbsent:
		err = d.do(ctx, func() error { return d.client.Add(item) })
	default:
		err = d.do(ctx, func() error { return d.client.Set(item) })
	}
	if err != nil {
		return 0, err
	}
	return version, nil
}

// seconds returns a TTL in memcached's format. Zero means none.
func seconds(ttl time.Duration) int32 {
	if ttl == 0 {
		return 0
	}
	return int32(ttl/time.Second) + 1
}

// swap replaces the item with this version.
func (d *Driver) swap(ctx context.Context, key string, version driver.Version, item *memcache.Item) error {
	there, found, err := d.find(ctx, key)
	switch {
	case errors.Is(err, driver.ErrNotFound):
		return driver.ErrConflict
	case err != nil:
		return err
	case there != version:
		return driver.ErrConflict
	}
	item.CasID = found.CasID
	err = d.do(ctx, func() error { return d.client.CompareAndSwap(item) })
	if errors.Is(err, driver.ErrNotFound) { // deleted since it was read
		return driver.ErrConflict
	}
	return err
}

// Delete implements driver.Driver.
func (d *Driver) Delete(ctx context.Context, req driver.DeleteRequest) error {
	if req.IfVersion != 0 {
		const expired = -1
		return d.swap(ctx, req.Key, req.IfVersion, &memcache.Item{Key: escape(req.Key), Expiration: expired})
	}
	err := d.do(ctx, func() error { return d.client.Delete(escape(req.Key)) })
	if errors.Is(err, driver.ErrNotFound) {
		return nil
	}
	return err
}

// Ping implements driver.Pinger. It asks every server.
func (d *Driver) Ping(ctx context.Context) error { return d.do(ctx, d.client.Ping) }

// Close implements driver.Driver. The client stays open.
func (d *Driver) Close() error {
	d.life.End()
	return nil
}

// do is within for a call that returns only an error, which do classifies.
func (d *Driver) do(ctx context.Context, ask func() error) error {
	_, err := within(ctx, d.longest(), func() (struct{}, error) { return struct{}{}, ask() })
	return d.classify(ctx, err)
}

// longest returns the maximum duration of a client's call: the time to connect, and the time to answer.
func (d *Driver) longest() time.Duration {
	if d.client.Timeout > 0 {
		return 2 * d.client.Timeout
	}
	return 2 * memcache.DefaultTimeout
}

// cancelWithin is how long a call may take to notice that its context was canceled. A call that must notice sooner uses a goroutine.
const cancelWithin = time.Second

// within calls ask and returns its result, or the error of ctx if that ends first. ask takes no longer than longest.
func within[T any](ctx context.Context, longest time.Duration, ask func() (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if deadline, ok := ctx.Deadline(); longest <= cancelWithin && (!ok || time.Until(deadline) >= longest) {
		return ask()
	}
	type answer struct {
		value T
		err   error
	}
	answered := make(chan answer, 1) // the caller may have returned
	go func() {
		value, err := ask()
		answered <- answer{value, err}
	}()
	select {
	case a := <-answered:
		return a.value, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// classify adds the class to an error of the client, which stays reachable. It returns nil for nil.
func (d *Driver) classify(ctx context.Context, err error) error {
	class := driver.ErrUnavailable
	switch {
	case err == nil:
		return nil
	case errors.Is(err, memcache.ErrCacheMiss):
		class = driver.ErrNotFound
	case errors.Is(err, memcache.ErrCASConflict), errors.Is(err, memcache.ErrNotStored):
		class = driver.ErrConflict
	case errors.Is(err, memcache.ErrMalformedKey):
		class = driver.ErrInvalid
	case strings.Contains(err.Error(), "object too large for cache"):
		class = driver.ErrTooLarge
	case ctx.Err() != nil:
		class = ctx.Err()
	case d.life.Err() != nil:
		class = driver.ErrClosed
	}
	return driver.Classify(class, err)
}
