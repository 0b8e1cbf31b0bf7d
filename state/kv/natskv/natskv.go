// Package natskv keeps key-value items in a JetStream bucket of NATS.
//
//	conn, err := nats.Connect(url, nats.ReconnectBufSize(-1), nats.MaxReconnects(-1))
//	js, err := jetstream.New(conn)
//	_, err = js.CreateOrUpdateKeyValue(ctx, natskv.Config("carts"))
//	…
//	store := kv.New(natskv.New(js, "carts", nil), nil)
//
// nats.ReconnectBufSize(-1) has a call fail while the connection is lost. Without it the client keeps what is written, and
// writes it when the connection is back, perhaps long after the caller was told that it failed.
//
// # The bucket
//
// It is an ordinary one: the nats command shows its items, under escaped names. It needs LimitMarkerTTL, for TTLs of items and
// for a watch to hear of their end (nats-server#4640); [Config] has it. One message a key is enough.
//
// # Keys
//
// A slash divides the names of NATS, which are dots there, so that listing or watching "carts/" is done by the server. Within such a part
// all but letters, digits and the hyphen are =XX. A prefix that ends within a part is filtered here, from what is below the part.
//
// # Reads
//
// On a bucket with replicas a Get may be answered by one that is behind (direct get). On a bucket without, it sees every
// acknowledged write.
//
// # TTL
//
// It belongs to a message, and so to one write (nats.go#1994). The server counts whole seconds.
//
// # Watch
//
// A watch shows the latest state of each key; states that were replaced while it lagged are left out, since a bucket keeps one
// message a key. It goes on from a place only if nothing was written since: removals leave no trace after a while, so any other
// place is taken for forgotten, and the watch starts over with what is there.
//
// # Durability
//
// By default the server acknowledges before it has written to disk, and syncs every two minutes (nats-server#7564).
// Options.Durable says that it runs with "sync_interval: always", and that the bucket is kept in files.
package natskv

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-os/go-os/state/kv/driver"
)

const (
	// MaxKey is the length of the longest key, in bytes: escaped it is within the 4 KiB that NATS allows a line of its protocol.
	MaxKey = 1 << 10
	// DefaultMaxPayload is the servers' own default of max_payload.
	DefaultMaxPayload = 1 << 20
	// MarkerTTL is how long a bucket of Config remembers that an item has expired.
	MarkerTTL = time.Hour

	// envelope is what a message holds besides its value.
	envelope = 1 << 10
)

// Options configure New.
type Options struct {
	// MaxPayload is the servers' max_payload, in bytes, of which a value may take all but 1 KiB. Default: DefaultMaxPayload.
	MaxPayload int
	// Durable declares that the servers have written to disk what they acknowledge: sync_interval always, and the bucket is
	// kept in files.
	Durable bool
}

// Config describes a bucket for New: in files, one message a key, with TTLs. Set Replicas on a cluster.
func Config(bucket string) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{Bucket: bucket, History: 1, Storage: jetstream.FileStorage, LimitMarkerTTL: MarkerTTL}
}

// Store is the driver. It is safe for concurrent use.
type Store struct {
	js     jetstream.JetStream
	bucket string
	caps   driver.Capabilities
	closed atomic.Bool

	mu sync.Mutex
	kv jetstream.KeyValue // nil until the bucket was found
}

// New returns a driver on a bucket, which must exist by the first call. The connection stays the caller's to close.
func New(js jetstream.JetStream, bucket string, opts *Options) *Store {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.MaxPayload <= 0 {
		o.MaxPayload = DefaultMaxPayload
	}
	abilities := driver.CAS | driver.Expiry | driver.List | driver.Watch
	if o.Durable {
		abilities |= driver.Durable
	}
	return &Store{js: js, bucket: bucket, caps: driver.Capabilities{
		System:    "nats",
		Abilities: abilities,
		TTL:       driver.TTLLimits{Min: time.Second, Max: maxTTL, Granularity: time.Second, MaxLateness: 2 * time.Second},
		MaxKey:    MaxKey,
		MaxValue:  max(o.MaxPayload-envelope, 1),
	}}
}

// maxTTL is short of where a time in nanoseconds overflows, and long enough.
const maxTTL = 100 * 365 * 24 * time.Hour

// Capabilities implements driver.Store.
func (s *Store) Capabilities() driver.Capabilities { return s.caps }

// Close implements driver.Store. The connection stays open.
func (s *Store) Close() error {
	s.closed.Store(true)
	return nil
}

// open returns the bucket. It is looked for once; whoever comes first asks the server.
func (s *Store) open(ctx context.Context) (jetstream.KeyValue, error) {
	s.mu.Lock()
	found := s.kv
	s.mu.Unlock()
	if found != nil {
		return found, nil
	}
	found, err := s.js.KeyValue(ctx, s.bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("%w: no bucket %q: create it with natskv.Config: %w", driver.ErrUnavailable, s.bucket, err)
	}
	if err != nil {
		return nil, s.classify(ctx, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kv = found
	return found, nil
}

// Get implements driver.Store. What is left of a TTL is not told.
func (s *Store) Get(ctx context.Context, key string) (driver.Item, error) {
	return s.get(ctx, key, escape(key))
}

// get reads a key that is escaped already.
func (s *Store) get(ctx context.Context, key, name string) (driver.Item, error) {
	bucket, err := s.open(ctx)
	if err != nil {
		return driver.Item{}, err
	}
	entry, err := bucket.Get(ctx, name)
	if err != nil {
		return driver.Item{}, s.classify(ctx, err)
	}
	return item(key, entry), nil
}

func item(key string, entry jetstream.KeyValueEntry) driver.Item {
	it := driver.Item{Key: key, Value: entry.Value(), Version: driver.Version(entry.Revision())}
	if it.Value == nil {
		it.Value = []byte{}
	}
	return it
}

// classify gives an error of the client its class; the client's own stays reachable. No error has none.
func (s *Store) classify(ctx context.Context, err error) error {
	class := driver.ErrUnavailable
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrKeyDeleted):
		return driver.ErrNotFound
	case moved(err):
		class = driver.ErrConflict
	case errors.Is(err, nats.ErrMaxPayload), tooLarge(err):
		class = driver.ErrTooLarge
	case ctx.Err() != nil:
		class = ctx.Err()
	case errors.Is(err, nats.ErrConnectionClosed) && s.closed.Load():
		class = driver.ErrClosed
	}
	return fmt.Errorf("%w: %w", class, err)
}

// moved reports whether the subject's last message is not the one that a write asked for.
func moved(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// tooLarge reports whether the bucket's own limit was exceeded, which is not told by a code of its own in this client.
func tooLarge(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && strings.Contains(api.Description, "message size exceeds maximum allowed")
}
