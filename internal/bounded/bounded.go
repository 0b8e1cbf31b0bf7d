// Package bounded holds a cache whose size has a limit and whose hits cost no lock and no allocation.
//
// It serves values derived from a small, mostly constant set of keys on a hot path, such as the attribute set of a route and a status. Keys
// may come from outside. Past the limit nothing more is kept, and a client that invents keys costs one build a call. A Cache bounds its
// entries, not the size of its keys; callers bound that.
package bounded

import (
	"maps"
	"sync"
	"sync/atomic"
)

// DefaultLimit is how many entries a Cache without its own limit keeps. It is the OpenTelemetry SDK's limit of series for one instrument:
// an attribute set past it gets no series anyway.
const DefaultLimit = 2000

// Cache keeps the values built for its keys, for good, until it is full. The zero value is ready to use with DefaultLimit. It is safe for
// concurrent use and must not be copied after its first use.
//
// A hit reads one immutable map, without a lock. New entries go to a second map, behind a lock. The two are merged once calls have taken
// the lock as often as there are entries to copy, so that filling the cache takes amortised constant time.
type Cache[K comparable, V any] struct {
	limit int

	settled atomic.Pointer[settled[K, V]]

	mu     sync.Mutex // guards what follows, and the replacing of settled
	recent map[K]V
	asked  int // calls that took the lock since the last merge
}

type settled[K comparable, V any] struct {
	values map[K]V
	full   bool
}

// New returns a Cache of at most limit entries. A limit below 1 means DefaultLimit.
func New[K comparable, V any](limit int) *Cache[K, V] {
	return &Cache[K, V]{limit: max(limit, 0)}
}

// Get returns the value of key, and calls build if the cache has none. A kept value is built once. When the cache is full, the value of an
// unknown key is built for that call only. build must be quick, must depend on the key alone, and must not use the cache.
func (c *Cache[K, V]) Get(key K, build func(K) V) V {
	v, _ := c.Admit(key, build)
	return v
}

// Admit is Get that also reports whether the value is kept. False means that the cache was full before the key was first seen.
func (c *Cache[K, V]) Admit(key K, build func(K) V) (value V, kept bool) {
	s := c.settled.Load()
	if s == nil {
		return c.slow(key, build)
	}
	if v, ok := s.values[key]; ok {
		return v, true
	}
	if s.full {
		return build(key), false
	}
	return c.slow(key, build)
}

// Len returns how many entries are kept.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.recent)
	if s := c.settled.Load(); s != nil {
		n += len(s.values)
	}
	return n
}

func (c *Cache[K, V]) slow(key K, build func(K) V) (value V, kept bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.settled.Load()
	if s == nil {
		s = &settled[K, V]{}
	}
	if v, ok := s.values[key]; ok { // merged while this call waited for the lock
		return v, true
	}
	v, ok := c.recent[key]
	if !ok {
		v = build(key)
		if s.full {
			return v, false
		}
		if c.recent == nil {
			c.recent = make(map[K]V)
		}
		c.recent[key] = v
	}
	c.asked++
	size := len(s.values) + len(c.recent)
	if full := size >= c.bound(); full || c.asked >= size {
		c.merge(s, full)
	}
	return v, true
}

func (c *Cache[K, V]) merge(s *settled[K, V], full bool) {
	next := make(map[K]V, len(s.values)+len(c.recent))
	maps.Copy(next, s.values)
	maps.Copy(next, c.recent)
	c.settled.Store(&settled[K, V]{values: next, full: full})
	c.recent, c.asked = nil, 0
}

func (c *Cache[K, V]) bound() int {
	if c.limit == 0 {
		return DefaultLimit
	}
	return c.limit
}
