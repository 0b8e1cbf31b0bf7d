package kv

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// The defaults of NearOptions.
const (
	DefaultNearItems    = 10_000
	DefaultNearMaxStale = 30 * time.Second
)

// NearOptions configure NewNear.
type NearOptions struct {
	// Prefix of the keys that are cached; others are read from the store each time. Default: all keys.
	Prefix string
	// MaxItems is how many items are kept; those that are read least make room. Default: DefaultNearItems.
	MaxItems int
	// MaxStale is how old a kept item becomes before it is read again, though the watch says that it has not changed.
	// Default: DefaultNearMaxStale.
	MaxStale time.Duration
}

// Near keeps the items that are read most in the memory of the process, and drops each as soon as a watch tells that it
// has changed. It is safe for concurrent use.
//
// # How old a value can be
//
// While the watch is connected, a value may be out of date for as long as the engine takes to tell of a change: under a
// millisecond on memkv, about a round trip on a server. When the watch knows that its connection is lost, the whole cache is
// dropped, and nothing is kept until the watch is in place again: reads go to the store, as they do before Run is called
// and after it has ended. When the connection is gone without anybody noticing, as behind a broken switch, a value is out of
// date for at most MaxStale. An item with a TTL is never served after its time where the engine tells how long it has left
// (memkv, boltkv); elsewhere, until the watch tells that it has expired.
//
// A process does not necessarily read what it has just written; who needs that reads from the store.
type Near struct {
	store *Store
	opts  NearOptions

	running      atomic.Bool
	live         atomic.Pointer[nearCache] // nil while nothing may be kept
	hits, misses atomic.Int64

	mu    sync.Mutex
	loads map[string]*load // under way, by key
}

type nearCache = otter.Cache[string, nearItem]

type nearItem struct {
	Item
	until   time.Time // when the cache must ask again
	expires time.Time // when the item's TTL is over; zero if it has none
}

// load stands for the reads of one key that are under way. What they read is not kept if it has changed meanwhile.
type load struct {
	readers int
	stale   bool
}

// NewNear returns a cache in front of s, which must have the ability Watch: Run fails if it does not. It reads through until Run is called.
func NewNear(s *Store, opts *NearOptions) *Near {
	if s == nil {
		s = New(nil, nil)
	}
	n := &Near{store: s, loads: make(map[string]*load)}
	if opts != nil {
		n.opts = *opts
	}
	if n.opts.MaxItems <= 0 {
		n.opts.MaxItems = DefaultNearItems
	}
	if n.opts.MaxStale <= 0 {
		n.opts.MaxStale = DefaultNearMaxStale
	}
	return n
}

// Run keeps the cache true until ctx ends, and returns nil then. ErrClosed says that the store was closed,
// errors.ErrUnsupported that the engine has no watches, and ErrInvalid that the cache runs already.
func (n *Near) Run(ctx context.Context) error {
	if !n.running.CompareAndSwap(false, true) {
		return &Error{Op: "near", Key: n.opts.Prefix, Err: fmt.Errorf("%w: it runs already", ErrInvalid)}
	}
	defer n.running.Store(false)
	cache, err := otter.New(&otter.Options[string, nearItem]{MaximumSize: n.opts.MaxItems})
	if err != nil {
		return &Error{Op: "near", Key: n.opts.Prefix, Err: err}
	}
	defer cache.StopAllGoroutines()
	defer n.flush(cache, nil)
	stop, err := n.observe()
	if err != nil {
		return &Error{Op: "near", Key: n.opts.Prefix, Err: err}
	}
	defer stop()
	for ev, err := range n.store.WatchPrefix(ctx, n.opts.Prefix) {
		if err != nil {
			return err
		}
		switch ev.Kind {
		case Put, Delete:
			n.forget(cache, ev.Item.Key)
		case Synced:
			n.flush(cache, cache)
		case Resync, Lost:
			n.flush(cache, nil)
		}
	}
	return nil
}

// Get returns the item at key, as Store.Get does, from memory if it can. The value is the caller's own.
func (n *Near) Get(ctx context.Context, key string) (Item, error) {
	if cache := n.live.Load(); cache != nil {
		if kept, ok := cache.GetIfPresent(key); ok {
			if now := time.Now(); now.Before(kept.until) {
				n.hits.Add(1)
				return kept.show(now), nil
			}
		}
	}
	n.misses.Add(1)
	l, sent := n.enter(key), time.Now()
	it, err := n.store.Get(ctx, key)
	if err != nil {
		n.leave(key, l, nil)
		return it, err
	}
	n.leave(key, l, n.keep(it, sent))
	return it, nil
}

// keep returns what to keep of an item. Its times count from when it was asked for: never from later than it was read.
func (n *Near) keep(it Item, sent time.Time) *nearItem {
	kept := &nearItem{Item: it, until: sent.Add(n.opts.MaxStale)}
	kept.Value = bytes.Clone(it.Value)
	if it.TTL > 0 {
		kept.expires = sent.Add(it.TTL)
		if kept.expires.Before(kept.until) {
			kept.until = kept.expires
		}
	}
	return kept
}

func (k *nearItem) show(now time.Time) Item {
	it := k.Item
	it.Value = bytes.Clone(it.Value)
	if !k.expires.IsZero() {
		it.TTL = k.expires.Sub(now)
	}
	return it
}

func (n *Near) enter(key string) *load {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.loads[key]
	if l == nil {
		l = &load{}
		n.loads[key] = l
	}
	l.readers++
	return l
}

// leave ends a read, and keeps what it read, unless that may have changed since.
func (n *Near) leave(key string, l *load, kept *nearItem) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.readers--; l.readers == 0 && n.loads[key] == l {
		delete(n.loads, key)
	}
	if cache := n.live.Load(); cache != nil && kept != nil && !l.stale && strings.HasPrefix(key, n.opts.Prefix) {
		cache.Set(key, *kept)
	}
}

// forget drops an item that has changed. Reads of it that are under way may have seen it before or after.
func (n *Near) forget(cache *nearCache, key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.loads[key]; l != nil {
		l.stale = true
		delete(n.loads, key)
	}
	cache.Invalidate(key)
}

// flush drops everything, and goes on with next, or without keeping anything if that is nil.
func (n *Near) flush(cache, next *nearCache) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.live.Store(nil)
	for _, l := range n.loads {
		l.stale = true
	}
	clear(n.loads)
	cache.InvalidateAll()
	n.live.Store(next)
}

// observe counts what the cache is asked for as long as it runs.
func (n *Near) observe() (stop func(), err error) {
	meter := n.store.engine.opts.Telemetry.Meter(scope)
	counter, err := meter.Int64ObservableCounter("goos.kv.near.requests",
		metric.WithDescription("Items that a near cache was asked for."), metric.WithUnit("{item}"))
	if err != nil {
		return nil, err
	}
	var common []attribute.KeyValue
	if name := n.store.engine.opts.Name; name != "" {
		common = append(common, attribute.String("db.collection.name", name))
	}
	result := func(value string) metric.MeasurementOption {
		attrs := append(common[:len(common):len(common)], attribute.String("goos.kv.near.result", value))
		return metric.WithAttributeSet(attribute.NewSet(attrs...))
	}
	hit, miss := result("hit"), result("miss")
	registration, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(counter, n.hits.Load(), hit)
		o.ObserveInt64(counter, n.misses.Load(), miss)
		return nil
	}, counter)
	if err != nil {
		return nil, err
	}
	return func() { _ = registration.Unregister() }, nil // its only error is that it is done already
}
