// Package peerkv keeps key-value items in the memory of the services themselves: each embeds a node of olric, and the nodes
// share the keys by consistent hashing. There is no server to run.
//
//	node, err := olric.New(settings)      // BindAddr, MemberlistConfig and Peers name the other nodes
//	go node.Start()                       // settings.Started is called when it is ready
//	items, err := node.NewEmbeddedClient().NewDMap("carts")
//	…
//	store := kv.New(peerkv.New(items, nil), nil)
//
// Unless BindAddr and the memberlist's BindAddr are set, olric binds to a private address of the machine that it chooses itself. The
// caller starts the node and shuts it down.
//
// # Lost items
//
// When a node joins or leaves, keys move, and some are lost, even with replicas and on an orderly shutdown: no background process repairs
// replicas (olric#225). The test of this package replaces one of three nodes and shuts another down. In four runs, 151 to 634 of 2,000
// keys were lost. A lost item is kv.ErrNotFound, and the loss is not reported. After a network partition two nodes may have different
// values of a key for a while.
//
// Under many writes, an item that replaces one with a TTL may be lost when that TTL ends. In twelve runs of the suite with promises that
// share a map, one item was.
//
// Use it for items that can be recomputed or are not essential. Conditional writes, watches, listings and durability are not declared,
// and kv.Store.Require refuses them at start-up. TTLs are honoured.
package peerkv

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/olric-data/olric"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/internal/sealed"
)

const (
	// MaxKey is the length of the longest key, in bytes.
	MaxKey = 255
	// DefaultMaxValue is the default of Options.MaxValue: half of olric's default table, which an item must fit into.
	DefaultMaxValue = 512 << 10
)

// Options configure New.
type Options struct {
	// MaxValue is the length of the longest value, in bytes. It must be below the "tableSize" of the nodes' storage engine, less the
	// key and 100 bytes. Default: DefaultMaxValue.
	MaxValue int
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	return all, defaults.Fill("peerkv.Options.MaxValue", &all.MaxValue, DefaultMaxValue)
}

// Driver implements driver.Driver. It is safe for concurrent use.
type Driver struct {
	items olric.DMap
	caps  driver.Capabilities
	fault error // of every call; nil unless New was given invalid arguments
	life  life.Life
}

// New returns a driver on a distributed map, which it does not close.
func New(items olric.DMap, opts *Options) *Driver {
	o, err := opts.withDefaults()
	return &Driver{items: items, fault: cmp.Or(defaults.Given("peerkv: New", "map", items), err), caps: driver.Capabilities{
		System:    "olric",
		Abilities: driver.Expiry,
		TTL:       driver.TTLLimits{Min: time.Millisecond, Max: maxTTL, Granularity: time.Millisecond, MaxLateness: maxLateness},
		MaxKey:    MaxKey,
		MaxValue:  o.MaxValue,
	}}
}

const (
	// maxTTL keeps times in nanoseconds from overflowing.
	maxTTL = 100 * 365 * 24 * time.Hour
	// maxLateness: a node does not return an expired item, by its own clock.
	maxLateness = 10 * time.Millisecond
	// early is how early olric may end an item, because it truncates the time to milliseconds twice.
	early = time.Millisecond
)

// Validate implements driver.Validator.
func (d *Driver) Validate() error { return d.fault }

// Capabilities implements driver.Driver.
func (d *Driver) Capabilities() driver.Capabilities { return d.caps }

// Get implements driver.Driver.
func (d *Driver) Get(ctx context.Context, key string) (driver.Item, error) {
	if err := ctx.Err(); err != nil {
		return driver.Item{}, err
	}
	found, err := d.items.Get(ctx, key)
	if err != nil {
		return driver.Item{}, d.classify(ctx, err)
	}
	stored, err := found.Byte()
	if err != nil {
		return driver.Item{}, err
	}
	version, value, err := sealed.Open(stored)
	if err != nil {
		return driver.Item{}, err
	}
	return driver.Item{Key: key, Value: append([]byte{}, value...), Version: version}, nil
}

// Put implements driver.Driver.
func (d *Driver) Put(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	var opts []olric.PutOption
	if req.TTL > 0 {
		opts = append(opts, olric.PX(req.TTL+early))
	}
	version := sealed.NewVersion()
	if err := d.items.Put(ctx, req.Key, sealed.Seal(version, req.Value), opts...); err != nil {
		return 0, d.classify(ctx, err)
	}
	return version, nil
}

// Delete implements driver.Driver.
func (d *Driver) Delete(ctx context.Context, req driver.DeleteRequest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := d.items.Delete(ctx, req.Key)
	return d.classify(ctx, err)
}

// Close implements driver.Driver. The map stays open.
func (d *Driver) Close() error {
	d.life.End()
	return nil
}

// classify adds the class to an error of olric, which stays reachable. It returns nil for nil.
func (d *Driver) classify(ctx context.Context, err error) error {
	class := driver.ErrUnavailable
	switch {
	case err == nil:
		return nil
	case errors.Is(err, olric.ErrKeyNotFound):
		class = driver.ErrNotFound
	case errors.Is(err, olric.ErrKeyTooLarge), errors.Is(err, olric.ErrEntryTooLarge):
		class = driver.ErrTooLarge
	case ctx.Err() != nil:
		class = ctx.Err()
	case d.life.Err() != nil:
		class = driver.ErrClosed
	}
	return driver.Classify(class, err)
}
