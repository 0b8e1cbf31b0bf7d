package breaker

import (
	"container/list"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/go-os/go-os/internal/defaults"
)

// DefaultMaxKeys is how many keys a KeyedRateLimit without its own limit tells apart.
const DefaultMaxKeys = 10_000

// KeyedConfig configures a KeyedRateLimit.
type KeyedConfig struct {
	// RateConfig is the limit of each key.
	RateConfig
	// MaxKeys is how many keys are told apart. Default: 10,000, about 3 MB.
	MaxKeys int
}

// Validate returns fault.Invalid if NewKeyedRateLimit would not take the configuration.
func (c KeyedConfig) Validate() error {
	_, err := c.withDefaults()
	return err
}

func (c KeyedConfig) withDefaults() (KeyedConfig, error) {
	r, err := c.RateConfig.withDefaults()
	c.RateConfig = r
	if err != nil {
		return c, err
	}
	return c, defaults.Fill("breaker.KeyedConfig.MaxKeys", &c.MaxKeys, DefaultMaxKeys)
}

// KeyedRateLimit limits the rate of calls by key, such as a tenant. Keys may come from outside: at most MaxKeys are kept, as hashes. A key
// is forgotten only when its bucket is full, so a flood of new keys gives no key more than its rate. While the least recently used key cannot
// be forgotten, all new keys share one bucket.
type KeyedRateLimit struct {
	seed     maphash.Seed
	rejected atomic.Int64

	mu     sync.Mutex // guards what follows
	config KeyedConfig
	keys   map[uint64]*list.Element // of *keyed
	recent *list.List               // the most recently used first
	shared *rate.Limiter
}

type keyed struct {
	hash   uint64
	bucket *rate.Limiter
}

// NewKeyedRateLimit returns a KeyedRateLimit, or fault.Invalid.
func NewKeyedRateLimit(c KeyedConfig) (*KeyedRateLimit, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	return &KeyedRateLimit{
		seed:   maphash.MakeSeed(),
		config: c,
		keys:   make(map[uint64]*list.Element),
		recent: list.New(),
		shared: newBucket(c.RateConfig),
	}, nil
}

// SetConfig changes the configuration and keeps the tokens, up to the new burst. Fewer keys are kept as they fall idle.
func (l *KeyedRateLimit) SetConfig(now time.Duration, c KeyedConfig) error {
	c, err := c.withDefaults()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.config = c
	setBucket(l.shared, now, c.RateConfig)
	for e := l.recent.Front(); e != nil; e = e.Next() {
		setBucket(e.Value.(*keyed).bucket, now, c.RateConfig)
	}
	return nil
}

// Allow takes a token of a key and reports whether there was one. If not, wait is the time until there is one.
func (l *KeyedRateLimit) Allow(now time.Duration, key string) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait, ok = take(l.bucket(now, maphash.String(l.seed, key)), now)
	if !ok {
		l.rejected.Add(1)
	}
	return wait, ok
}

// bucket returns the bucket of a key, which it makes if there is room.
func (l *KeyedRateLimit) bucket(now time.Duration, hash uint64) *rate.Limiter {
	if e, ok := l.keys[hash]; ok {
		l.recent.MoveToFront(e)
		return e.Value.(*keyed).bucket
	}
	if !l.makeRoom(now) {
		return l.shared
	}
	k := &keyed{hash: hash, bucket: newBucket(l.config.RateConfig)}
	l.keys[hash] = l.recent.PushFront(k)
	return k.bucket
}

// makeRoom forgets keys that are idle, the least recently used first, until there is room for one more.
func (l *KeyedRateLimit) makeRoom(now time.Duration) bool {
	for len(l.keys) >= l.config.MaxKeys {
		last := l.recent.Back()
		k := last.Value.(*keyed)
		if !full(k.bucket, now) {
			return false
		}
		l.recent.Remove(last)
		delete(l.keys, k.hash)
	}
	return true
}

// KeyedCounts are the numbers behind a KeyedRateLimit.
type KeyedCounts struct {
	Keys     int
	Rejected int64 // since NewKeyedRateLimit
}

// Counts returns the numbers behind the decisions.
func (l *KeyedRateLimit) Counts() KeyedCounts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return KeyedCounts{Keys: len(l.keys), Rejected: l.rejected.Load()}
}
