// Package memkv keeps key-value items in the memory of the process. It is the default for data that need not last, and the reference for
// all other drivers.
//
// Guarantees:
//   - It has every ability of package driver except Durable. Writes are atomic and totally ordered. The version of an item is the number
//     of its write.
//   - An item with a TTL disappears exactly when the TTL ends. Its end is an event like any other.
//   - A listing shows one moment, however slow its reader, and delays no writer: pages share the tree with the store and copy nodes that a
//     writer changes.
//   - A watch sees every change in order. A consumer that falls behind by more than Options.History events resyncs with a snapshot, and
//     never delays a writer.
//   - An idle store runs no goroutine. One timer waits for the item that expires next.
//
// It uses the clock of package time: inside testing/synctest a TTL of a minute takes no time.
package memkv

import (
	"bytes"
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/internal/feed"
)

// The limits that Options can change.
const (
	DefaultMaxKey   = 32 << 10
	DefaultMaxValue = 64 << 20
)

// Options configure New.
type Options struct {
	// History is how many changes the store remembers for watches that resume or lag. Default: 10,000.
	History int
	// MaxKey is the length of the longest key, in bytes. Default: DefaultMaxKey.
	MaxKey int
	// MaxValue is the length of the longest value, in bytes. Default: DefaultMaxValue.
	MaxValue int
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	return all, cmp.Or(
		defaults.Fill("memkv.Options.History", &all.History, feed.DefaultLength),
		defaults.Fill("memkv.Options.MaxKey", &all.MaxKey, DefaultMaxKey),
		defaults.Fill("memkv.Options.MaxValue", &all.MaxValue, DefaultMaxValue),
	)
}

// Driver is the engine. It is safe for concurrent use.
type Driver struct {
	caps  driver.Capabilities
	feed  *feed.Feed
	fault error // of every call; nil unless an option is negative

	mu      sync.RWMutex // guards the fields below; held while feed is appended to, so that both have one order
	items   map[string]*item
	order   *btree.Map[string, *item]
	leases  map[driver.LeaseID]*lease
	granted int // number of leases granted, from which their IDs derive
	ending  deadlines
	alarm   *time.Timer // for the first deadline; nil until needed
	closed  bool
}

// item is immutable, except for the marked field.
type item struct {
	key     string
	value   []byte
	version driver.Version
	end     *deadline // may change under the write lock; nil without TTL; the deadline of the lease if there is one
	lease   *lease
}

// New returns an empty store.
func New(opts *Options) *Driver {
	o, err := opts.withDefaults()
	return &Driver{
		fault: err,
		caps: driver.Capabilities{
			System:    "memory",
			Abilities: driver.AllAbilities() &^ driver.Durable,
			TTL:       driver.TTLLimits{Min: time.Millisecond},
			MaxKey:    o.MaxKey,
			MaxValue:  o.MaxValue,
		},
		feed:   feed.New(o.History, 1),
		items:  make(map[string]*item),
		order:  new(btree.Map[string, *item]),
		leases: make(map[driver.LeaseID]*lease),
	}
}

// Validate implements driver.Validator.
func (d *Driver) Validate() error { return d.fault }

// Capabilities implements driver.Driver.
func (d *Driver) Capabilities() driver.Capabilities { return d.caps }

// Get implements driver.Driver.
func (d *Driver) Get(ctx context.Context, key string) (driver.Item, error) {
	if err := ctx.Err(); err != nil {
		return driver.Item{}, err
	}
	d.mu.RLock()
	if d.closed {
		d.mu.RUnlock()
		return driver.Item{}, driver.ErrClosed
	}
	it := d.items[key]
	var ttl time.Duration
	if it != nil && it.end != nil {
		if ttl = time.Until(it.end.at); ttl <= 0 {
			it = nil
		}
	}
	d.mu.RUnlock()
	if it == nil {
		return driver.Item{}, driver.ErrNotFound
	}
	return driver.Item{Key: key, Value: bytes.Clone(it.value), Version: it.version, TTL: ttl}, nil
}

// Put implements driver.Driver.
func (d *Driver) Put(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
	if err := d.lock(ctx); err != nil {
		return 0, err
	}
	defer d.mu.Unlock()
	return d.put(req)
}

func (d *Driver) put(req driver.PutRequest) (driver.Version, error) {
	old := d.items[req.Key]
	if req.IfAbsent && old != nil || !matches(old, req.IfVersion) {
		return 0, driver.ErrConflict
	}
	it := &item{key: req.Key, value: append([]byte{}, req.Value...)}
	if req.Lease != "" {
		if it.lease = d.leases[req.Lease]; it.lease == nil {
			return 0, driver.ErrNotFound
		}
	}
	d.release(old)
	switch {
	case it.lease != nil:
		it.lease.items[it.key] = it
		it.end = it.lease.end
	case req.TTL > 0:
		it.end = d.schedule(&deadline{at: time.Now().Add(req.TTL), item: it})
	}
	shown := driver.Item{Key: it.key, Value: it.value}
	if it.end != nil {
		shown.TTL = time.Until(it.end.at)
	}
	it.version = d.record(driver.EventPut, shown)
	d.items[it.key] = it
	d.order.Set(it.key, it)
	return it.version, nil
}

// record appends a change to the history. The version of a write is its position there.
func (d *Driver) record(kind driver.EventKind, it driver.Item) driver.Version {
	return d.feed.Append(driver.Event{Kind: kind, Item: it})
}

func matches(it *item, want driver.Version) bool {
	return want == 0 || it != nil && it.version == want
}

// Delete implements driver.Driver.
func (d *Driver) Delete(ctx context.Context, req driver.DeleteRequest) error {
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.mu.Unlock()
	it := d.items[req.Key]
	if !matches(it, req.IfVersion) {
		return driver.ErrConflict
	}
	if it != nil {
		d.remove(it)
	}
	return nil
}

// remove deletes an item and notifies the watches.
func (d *Driver) remove(it *item) {
	d.release(it)
	delete(d.items, it.key)
	d.order.Delete(it.key)
	d.record(driver.EventDelete, driver.Item{Key: it.key})
}

// release removes an item from its lease and from the schedule, before it is removed or replaced.
func (d *Driver) release(it *item) {
	switch {
	case it == nil || it.end == nil:
	case it.lease != nil:
		delete(it.lease.items, it.key)
	default:
		d.unschedule(it.end)
	}
}

// lock takes the write lock and removes expired items.
func (d *Driver) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return driver.ErrClosed
	}
	d.expire()
	return nil
}

// Compact discards the history of changes. Watches that resume from an earlier position resync with a snapshot.
func (d *Driver) Compact() { d.feed.Compact() }

// Close implements driver.Driver. It ends all watches and frees the memory.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	d.feed.Close()
	if d.alarm != nil {
		d.alarm.Stop()
	}
	d.items, d.order, d.leases, d.ending = nil, new(btree.Map[string, *item]), nil, nil
	return nil
}
