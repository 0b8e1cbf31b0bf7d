// Package natskv keeps key-value items in a JetStream bucket of NATS.
//
//	conn, err := nats.Connect(url, nats.ReconnectBufSize(-1), nats.MaxReconnects(-1))
//	js, err := jetstream.New(conn)
//	_, err = js.CreateOrUpdateKeyValue(ctx, natskv.Config("carts"))
//	…
//	store := kv.New(natskv.New(js, "carts", nil), nil)
//
// With nats.ReconnectBufSize(-1) a call fails while the connection is lost. Without it the client buffers writes and sends them after it
// has reconnected, perhaps long after the call has failed.
//
// # The bucket
//
// The bucket is an ordinary one: the nats command shows its items, under escaped names. It needs LimitMarkerTTL, for the TTLs of items and
// so that a watch is notified when they expire (nats-server#4640). [Config] sets it. One message for each key is enough.
//
// # Keys
//
// A slash in a key is a dot in the subject, so that the server itself can list and watch "carts/". In each part between slashes, all
// characters except letters, digits and the hyphen are =XX. For a prefix that ends within a part, the driver filters the keys below the
// part before it.
//
// # Reads
//
// Reads go to the leader of the bucket, not to the nearest replica, so they see every acknowledged write. A bucket on one server has no
// replicas and is read by direct get, which takes a third less time. After such a bucket gets replicas, a read may come from one that
// lags, until the store looks the bucket up again within a minute. So may reads of a bucket that has a mirror with MirrorDirect.
//
// In all other cases no read is older than an event, a write or a read that this Driver has seen before. If the server that answers lags,
// the read waits for it. A listing and the snapshot of a watch come from a replica, and wait until it has the state of the leader. One
// gap remains: a leader that was paused or cut off, and replaced meanwhile, may answer once more before it detects that. Its answer can
// miss recent writes.
//
// # TTL
//
// A TTL belongs to a message, and so to one write (nats.go#1994). The server counts whole seconds.
//
// # Watch
//
// A watch shows the latest state of each key. It skips states that were replaced while it lagged, since a bucket keeps one message for
// each key. It resumes from a position only if nothing was written since: deletions leave no trace after a while. From any other position
// it resyncs with the existing items.
//
// A watch resyncs when the bucket is deleted and created again. It needs permission to subscribe to $JS.EVENT.ADVISORY.STREAM.CREATED.>. A
// purge of the stream removes items without a trace that a watch could show.
//
// # Durability
//
// By default the server acknowledges a write before it is on the disk, and syncs every two minutes (nats-server#7564). Set Options.Durable if
// it runs with "sync_interval: always" and the bucket is stored in files.
package natskv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/state/kv/driver"
)

const (
	// MaxKey is the length of the longest key, in bytes. Its escaped form fits into a line of NATS's protocol, which has at most 4 KiB.
	MaxKey = 1 << 10
	// DefaultMaxPayload is the servers' own default of max_payload.
	DefaultMaxPayload = 1 << 20
	// MarkerTTL is how long a bucket of Config keeps the marker of an item that has expired.
	MarkerTTL = time.Hour

	// envelope is an upper bound of the size of a message without its value.
	envelope = 1 << 10
)

// Options configure New.
type Options struct {
	// MaxPayload is the servers' max_payload, in bytes. A value may use all of it except 1 KiB. Default: DefaultMaxPayload.
	MaxPayload int
	// Durable declares that the servers write to disk before they acknowledge: sync_interval always, and a bucket in files. Default: false.
	Durable bool
}

// Config returns the configuration of a bucket for New: in files, with one message for each key and with TTLs. Set Replicas on a cluster.
func Config(bucket string) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{Bucket: bucket, History: 1, Storage: jetstream.FileStorage, LimitMarkerTTL: MarkerTTL}
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	return all, defaults.Fill("natskv.Options.MaxPayload", &all.MaxPayload, DefaultMaxPayload)
}

// Driver implements driver.Driver. It is safe for concurrent use.
type Driver struct {
	js     jetstream.JetStream
	bucket string
	caps   driver.Capabilities
	fault  error // of every call; nil unless New was given invalid arguments
	life   life.Life

	progress progress

	mu      sync.Mutex
	opened  *opened   // nil until the bucket was found
	looked  time.Time // when the bucket was looked up
	created time.Time // when the bucket was created
}

// opened is a bucket that was found.
type opened struct {
	watches jetstream.KeyValue
	reads   nats.JetStreamContext // the client of package jetstream reads from any replica
	single  bool                  // the bucket is on one server
}

// lookEvery is the interval at which a bucket on one server is looked up again, since it may have gained replicas.
const lookEvery = time.Minute

// New returns a driver on a bucket, which must exist by the first call. It does not close the connection.
func New(js jetstream.JetStream, bucket string, opts *Options) *Driver {
	o, err := opts.withDefaults()
	abilities := driver.CAS | driver.Expiry | driver.List | driver.Watch | driver.FreshReads
	if o.Durable {
		abilities |= driver.Durable
	}
	return &Driver{js: js, bucket: bucket, fault: cmp.Or(defaults.Given("natskv: New", "JetStream client", js), err), caps: driver.Capabilities{
		System:    "nats",
		Abilities: abilities,
		TTL:       driver.TTLLimits{Min: time.Second, Max: maxTTL, Granularity: time.Second, MaxLateness: 2 * time.Second},
		MaxKey:    MaxKey,
		MaxValue:  max(o.MaxPayload-envelope, 1),
	}}
}

// maxTTL keeps times in nanoseconds from overflowing.
const maxTTL = 100 * 365 * 24 * time.Hour

// Validate implements driver.Validator.
func (d *Driver) Validate() error { return d.fault }

// Capabilities implements driver.Driver.
func (d *Driver) Capabilities() driver.Capabilities { return d.caps }

// Close implements driver.Driver. The connection stays open.
func (d *Driver) Close() error {
	d.life.End()
	return nil
}

// stream is the name of the bucket's stream.
func (d *Driver) stream() string { return "KV_" + d.bucket }

// subject is the subject of an escaped key or pattern.
func (d *Driver) subject(name string) string { return subjects + d.bucket + "." + name }

// open returns the bucket. The first call that needs it looks it up.
func (d *Driver) open(ctx context.Context) (*opened, error) {
	d.mu.Lock()
	found := d.opened
	due := found == nil || found.single && time.Since(d.looked) >= lookEvery
	if found != nil && due {
		d.looked = time.Now() // so that concurrent calls do not look it up as well
	}
	d.mu.Unlock()
	if !due {
		return found, nil
	}
	return d.lookUp(ctx)
}

func (d *Driver) lookUp(ctx context.Context) (*opened, error) {
	watches, err := d.js.KeyValue(ctx, d.bucket)
	if err != nil {
		return nil, d.classify(ctx, err)
	}
	reads, err := d.js.Conn().JetStream(apiOption(d.js.Options())...)
	if err != nil {
		return nil, d.classify(ctx, err)
	}
	stream, err := d.js.Stream(ctx, d.stream())
	if err != nil {
		return nil, d.classify(ctx, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	config := stream.CachedInfo().Config
	d.opened = &opened{watches: watches, reads: reads, single: config.AllowDirect && config.Replicas <= 1}
	d.created, d.looked = stream.CachedInfo().Created, time.Now()
	return d.opened, nil
}

// apiOption returns the option by which a client uses the same API subjects as another.
func apiOption(o jetstream.JetStreamOptions) []nats.JSOpt {
	switch {
	case o.Domain != "":
		return []nats.JSOpt{nats.Domain(o.Domain)}
	case o.APIPrefix != "":
		return []nats.JSOpt{nats.APIPrefix(o.APIPrefix)}
	default:
		return nil
	}
}

// classify adds the class to an error of the client, which stays reachable. It returns nil for nil.
func (d *Driver) classify(ctx context.Context, err error) error {
	class := driver.ErrUnavailable
	switch {
	case err == nil:
		return nil
	case missing(err):
		return fmt.Errorf("%w: no bucket %q: create it with natskv.Config: %w", driver.ErrUnavailable, d.bucket, err)
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return fmt.Errorf("%w: no bucket %q, or it has no leader: create it with natskv.Config, or wait: %w", driver.ErrUnavailable, d.bucket, err)
	case moved(err):
		class = driver.ErrConflict
	case errors.Is(err, nats.ErrMaxPayload), tooLarge(err):
		class = driver.ErrTooLarge
	case ctx.Err() != nil:
		class = ctx.Err()
	case errors.Is(err, nats.ErrConnectionClosed) && d.life.Err() != nil:
		class = driver.ErrClosed
	}
	return driver.Classify(class, err)
}

// missing reports whether the server has no such bucket.
func missing(err error) bool {
	return errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, nats.ErrStreamNotFound)
}

// moved reports whether the last message of the subject is not the one that a write expects.
func moved(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// tooLarge reports whether a message is over the limit of the bucket. The client has no code for this error.
func tooLarge(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && strings.Contains(api.Description, "message size exceeds maximum allowed")
}
