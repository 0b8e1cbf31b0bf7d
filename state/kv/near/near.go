// Package near caches the items of a kv.Store in the memory of the process. A watch removes each item from the cache when it changes.
//
//	cache := near.New(store, &near.Options{Prefix: "feature/"})
//	go cache.Run(ctx)
//	item, err := cache.Get(ctx, "feature/dark") // from memory, once it was read
//
// A kv.Mirror instead holds all items below a prefix. This package is separate from state/kv so that state/kv links no cache library.
//
// # Telemetry
//
// Scope github.com/go-os/go-os/state/kv/near, on the providers of the store. A cache that runs counts its reads in
// goos.kv.near.requests, with goos.kv.near.result (hit or miss) and db.collection.name (the name of the store, if set).
package near

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/state/kv"
)

const scope = "github.com/go-os/go-os/state/kv/near"

// The defaults of Options.
const (
	DefaultMaxItems = 10_000
	DefaultMaxStale = 30 * time.Second
)

// Options configure New.
type Options struct {
	// Prefix of the keys to cache. Get reads other keys from the store each time. Default: all keys.
	Prefix string
	// MaxItems is the maximum number of cached items. Rarely read items are evicted. Default: DefaultMaxItems.
	MaxItems int
	// MaxStale is how long the cache serves an item before it reads it again, even if the watch has reported no change. Default:
	// DefaultMaxStale.
	MaxStale time.Duration
}

// Cache is a cache in front of a store. It is safe for concurrent use.
//
// # Staleness
//
// While the watch is connected, a value is stale for as long as the engine takes to report a change: under a millisecond on memkv, about
// one round trip on a server.
//
// When the watch loses its connection, the cache removes all items, and stays empty until the watch is established again. Until then
// reads go to the store, as they do before Run is called and after it has returned. If a connection fails without an error, as behind a
// broken switch, a value is stale for at most MaxStale.
//
// If the engine reports the TTL of items (memkv, boltkv), the cache never serves an item after its TTL. On other engines it may, until
// the watch reports that the item has expired.
//
// A process may not see its own write at once. Read from the store where that matters.
type Cache struct {
	store *kv.Store
	opts  Options

	fault        error // of every call; nil unless an option is negative
	running      life.Running
	live         atomic.Pointer[items] // nil while nothing may be cached
	hits, misses atomic.Int64

	mu    sync.Mutex
	loads map[string]*load // reads in progress, by key
}

type items = otter.Cache[string, item]

type item struct {
	kv.Item
	until   time.Time // when the cache must read the item again
	expires time.Time // when the item's TTL ends; zero if it has none
}

// load counts the reads of one key that are in progress. The cache discards their result if the key has changed meanwhile.
type load struct {
	readers int
	stale   bool
}

// New returns a cache in front of s. Until Run is called, every Get reads from the store. Get and Run return kv.ErrInvalid if the store
// is nil or an option is negative. They return errors.ErrUnsupported if the engine lacks the ability kv.Watch, since the cache could
// never keep an item.
func New(s *kv.Store, opts *Options) *Cache {
	c := &Cache{store: s, loads: make(map[string]*load)}
	c.opts, c.fault = opts.withDefaults()
	if c.fault == nil {
		c.fault = defaults.Given("near: New", "store", s)
	}
	if c.fault == nil {
		c.fault = able(s)
	}
	return c
}

// able returns an error if the store cannot be watched.
func able(s *kv.Store) error {
	err := s.Require(kv.Watch)
	if e, ok := errors.AsType[*kv.Error](err); ok {
		return e.Err
	}
	return err
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	return all, cmp.Or(
		defaults.Fill("near.Options.MaxItems", &all.MaxItems, DefaultMaxItems),
		defaults.Fill("near.Options.MaxStale", &all.MaxStale, DefaultMaxStale),
	)
}

// Run keeps the cache in step with the store until ctx ends, and then returns nil. It returns kv.ErrClosed if the store is closed,
// errors.ErrUnsupported if the engine has no watches, and kv.ErrInvalid if the cache is already running.
func (c *Cache) Run(ctx context.Context) error {
	if c.fault != nil {
		return c.failed(c.fault)
	}
	end, err := c.running.Begin()
	if err != nil {
		return c.failed(err)
	}
	defer end()
	cache, err := otter.New(&otter.Options[string, item]{MaximumSize: c.opts.MaxItems})
	if err != nil {
		return c.failed(err)
	}
	defer cache.StopAllGoroutines()
	defer c.flush(cache, nil)
	stop, err := c.observe()
	if err != nil {
		return c.failed(err)
	}
	defer stop()
	for ev, err := range c.store.WatchPrefix(ctx, c.opts.Prefix) {
		if err != nil {
			return err
		}
		switch ev.Kind {
		case kv.EventPut, kv.EventDelete:
			c.forget(cache, ev.Item.Key)
		case kv.EventSynced:
			c.flush(cache, cache)
		case kv.EventResync, kv.EventLost:
			c.flush(cache, nil)
		}
	}
	return nil
}

func (c *Cache) failed(err error) error { return &kv.Error{Op: "near", Key: c.opts.Prefix, Err: err} }

// Get returns the item at key from memory if possible, and otherwise from the store. The value belongs to the caller.
func (c *Cache) Get(ctx context.Context, key string) (kv.Item, error) {
	if c.fault != nil {
		return kv.Item{}, &kv.Error{Op: "get", Key: key, Err: c.fault}
	}
	if cache := c.live.Load(); cache != nil {
		if kept, ok := cache.GetIfPresent(key); ok {
			if now := time.Now(); now.Before(kept.until) {
				c.hits.Add(1)
				return kept.show(now), nil
			}
		}
	}
	c.misses.Add(1)
	l, sent := c.enter(key), time.Now()
	it, err := c.store.Get(ctx, key)
	if err != nil {
		c.leave(key, l, nil)
		return it, err
	}
	c.leave(key, l, c.keep(it, sent))
	return it, nil
}

// keep returns the cache entry of an item. Its times count from when the read was sent, before the engine read the item.
func (c *Cache) keep(it kv.Item, sent time.Time) *item {
	kept := &item{Item: it, until: sent.Add(c.opts.MaxStale)}
	kept.Value = bytes.Clone(it.Value)
	if it.TTL > 0 {
		kept.expires = sent.Add(it.TTL)
		if kept.expires.Before(kept.until) {
			kept.until = kept.expires
		}
	}
	return kept
}

func (k *item) show(now time.Time) kv.Item {
	it := k.Item
	it.Value = bytes.Clone(it.Value)
	if !k.expires.IsZero() {
		it.TTL = k.expires.Sub(now)
	}
	return it
}

func (c *Cache) enter(key string) *load {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.loads[key]
	if l == nil {
		l = &load{}
		c.loads[key] = l
	}
	l.readers++
	return l
}

// leave ends a read, and caches its result unless the key may have changed since.
func (c *Cache) leave(key string, l *load, kept *item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.readers--; l.readers == 0 && c.loads[key] == l {
		delete(c.loads, key)
	}
	if cache := c.live.Load(); cache != nil && kept != nil && !l.stale && strings.HasPrefix(key, c.opts.Prefix) {
		cache.Set(key, *kept)
	}
}

// forget removes an item that has changed. Reads of it that are in progress may have seen either state, so their results are not cached.
func (c *Cache) forget(cache *items, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.loads[key]; l != nil {
		l.stale = true
		delete(c.loads, key)
	}
	cache.Invalidate(key)
}

// flush removes all items and continues with next. If next is nil, nothing is cached.
func (c *Cache) flush(cache, next *items) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live.Store(nil)
	for _, l := range c.loads {
		l.stale = true
	}
	clear(c.loads)
	cache.InvalidateAll()
	c.live.Store(next)
}

// observe registers the metric; stop removes it.
func (c *Cache) observe() (stop func(), err error) {
	meter := c.store.Telemetry().Meter(scope)
	counter, err := meter.Int64ObservableCounter("goos.kv.near.requests",
		metric.WithDescription("Reads of a near cache."), metric.WithUnit("{item}"))
	if err != nil {
		return nil, err
	}
	var common []attribute.KeyValue
	if name := c.store.Name(); name != "" {
		common = append(common, attribute.String("db.collection.name", name))
	}
	result := func(value string) metric.MeasurementOption {
		attrs := append(common[:len(common):len(common)], attribute.String("goos.kv.near.result", value))
		return metric.WithAttributeSet(attribute.NewSet(attrs...))
	}
	hit, miss := result("hit"), result("miss")
	registration, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(counter, c.hits.Load(), hit)
		o.ObserveInt64(counter, c.misses.Load(), miss)
		return nil
	}, counter)
	if err != nil {
		return nil, err
	}
	return func() { _ = registration.Unregister() }, nil // fails only if it is called twice
}
