// Package consulsync is a driver of state/sync for Consul.
//
//	client, err := api.NewClient(api.DefaultConfig())
//	…
//	session := sync.New(consulsync.New(client, nil), nil)
//
// A lease is a session, and a claim is a key of its own, below the name's prefix, that the session has locked and that is deleted when it
// ends. Its token is the index that made the key (CreateIndex), which orders claims as Consul got them. A lock without contention is
// one transaction, and so is its release. Token, namespace, partition and datacenter are those of the client.
//
// Guarantees:
//   - Linearizable: who holds a seat is decided by transactions and by consistent reads, which ask the leader to ask the others.
//   - A waiter for a lock waits for a change of the claim right before its own, however many wait; but each of its reads returns the whole
//     queue, since Consul cannot return a part. The waiters of a semaphore all wake with each change of it.
//   - Who waits or observes keeps one request at Consul, and makes it again every Options.Wait. By default Consul takes 200 connections
//     from one address (limits.http_max_conns_per_client): more waiters than that in one process need more.
//
// Consul takes TTLs of 10 s to 24 h, ends sessions late, at up to twice their TTL (hashicorp/consul#1172), and begins to count anew when its
// leader changes. Its lock delay, which guards a key from its next holder, is not used: a grant's context has ended before.
package consulsync

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/internal/life"
)

const (
	// DefaultPrefix is what all keys begin with.
	DefaultPrefix = "goos/sync/"
	// DefaultWait is the default of Options.Wait.
	DefaultWait = time.Minute
	// MaxName is the length of the longest name, in bytes. In a key, each byte that is no letter or digit takes three.
	MaxName = 1 << 10
	// MaxValue is the length of the longest value, in bytes.
	MaxValue = 64 << 10

	// maxWait is Consul's own limit of a blocking query, to whose time it adds up to a sixteenth.
	maxWait = 10 * time.Minute
	// answerWithin is how long an answer may take beyond that.
	answerWithin = 10 * time.Second
	// lockDelay is the shortest: zero would mean Consul's default of 15 s.
	lockDelay = time.Millisecond
)

// Options configure New.
type Options struct {
	// Prefix is what all keys begin with: printable ASCII, without a slash at its beginning or two in a row. Processes that share locks
	// agree on it. Default: DefaultPrefix.
	Prefix string
	// Wait is how long one blocking query waits before it is made again. A connection that died in silence is noticed a sixth
	// later, and ten seconds. At most 10 min. Default: DefaultWait.
	Wait time.Duration
}

// Driver is the driver. It is safe for concurrent use.
type Driver struct {
	client *api.Client
	prefix string
	wait   time.Duration
	life   life.Life
}

// New returns a driver on a client.
func New(client *api.Client, opts *Options) *Driver {
	d := &Driver{client: client, prefix: DefaultPrefix, wait: DefaultWait, life: life.New()}
	if opts != nil {
		if opts.Prefix != "" {
			d.prefix = opts.Prefix
		}
		if opts.Wait > 0 {
			d.wait = min(opts.Wait, maxWait)
		}
	}
	return d
}

// Capabilities implements driver.Driver.
func (*Driver) Capabilities() driver.Capabilities {
	return driver.Capabilities{
		System: "consul", Safety: driver.Linearizable, Ordered: true, MaxName: MaxName, MaxValue: MaxValue,
		Lease: driver.LeaseLimits{
			Min: 10 * time.Second, Max: 24 * time.Hour, Granularity: time.Second, Stretch: 2, MaxLateness: 5 * time.Second,
		},
	}
}

// Close implements driver.Driver. The client stays as it is.
func (d *Driver) Close() error {
	d.life.End()
	return nil
}

// Grant implements driver.Leaser. No health check ends the session early.
func (d *Driver) Grant(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
	id, _, err := d.client.Session().CreateNoChecks(&api.SessionEntry{
		TTL: ttl.String(), Behavior: api.SessionBehaviorDelete, LockDelay: lockDelay,
	}, (&api.WriteOptions{}).WithContext(ctx))
	if err != nil {
		return "", d.classify(ctx, err)
	}
	return driver.LeaseID(id), nil
}

// Renew implements driver.Leaser. The claims are locked by the session, so that renewing it renews them; a read finds those that were removed.
func (d *Driver) Renew(ctx context.Context, id driver.LeaseID, claims []driver.Claim) (missing []driver.Claim, err error) {
	session, _, err := d.client.Session().Renew(string(id), (&api.WriteOptions{}).WithContext(ctx))
	switch {
	case gone(err), err == nil && session == nil:
		return nil, driver.ErrLost
	case err != nil:
		return nil, d.classify(ctx, err)
	}
	for some := range slices.Chunk(claims, maxOps) {
		found, err := d.missing(ctx, some)
		if err != nil {
			return nil, err
		}
		missing = append(missing, found...)
	}
	return missing, nil
}

// maxOps is how many operations Consul takes in a transaction.
const maxOps = 64

// missing returns those claims that their session no longer holds.
func (d *Driver) missing(ctx context.Context, claims []driver.Claim) (missing []driver.Claim, err error) {
	ops := make(api.KVTxnOps, len(claims))
	for i, c := range claims {
		ops[i] = &api.KVTxnOp{Verb: api.KVCheckSession, Key: d.key(c), Session: string(c.Lease)}
	}
	held, resp, _, err := d.client.KV().Txn(ops, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	switch {
	case err != nil:
		return nil, d.classify(ctx, err)
	case held:
		return nil, nil
	}
	for _, refused := range resp.Errors {
		if refused.OpIndex < 0 || refused.OpIndex >= len(claims) {
			return nil, fmt.Errorf("%w: Consul refused a transaction: %v", driver.ErrUnavailable, resp.Errors)
		}
		missing = append(missing, claims[refused.OpIndex])
	}
	return missing, nil
}

// gone reports whether Consul knows no such session, which it says in more than one way.
func gone(err error) bool {
	var status api.StatusError
	if !errors.As(err, &status) {
		return false
	}
	return status.Code == http.StatusNotFound || strings.Contains(strings.ToLower(status.Body), "invalid session")
}

// Revoke implements driver.Leaser.
func (d *Driver) Revoke(ctx context.Context, id driver.LeaseID) error {
	_, err := d.client.Session().Destroy(string(id), (&api.WriteOptions{}).WithContext(ctx))
	if gone(err) {
		return nil
	}
	return d.classify(ctx, err)
}

// queue is the prefix of a name's claims. What net/http, the client and Consul would change in a path or refuse is escaped.
func (d *Driver) queue(name string) string {
	var b strings.Builder
	b.WriteString(d.prefix)
	for _, c := range []byte(name) {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02x", c)
		}
	}
	b.WriteByte('/')
	return b.String()
}

func (d *Driver) key(c driver.Claim) string { return d.queue(c.Name) + c.ID }

// classify gives an error of the client its class; the client's own stays reachable. No error has none.
func (d *Driver) classify(ctx context.Context, err error) error {
	class := d.life.Ended(ctx)
	var status api.StatusError
	switch {
	case err == nil:
		return nil
	case class != nil:
	case errors.As(err, &status) && status.Code < http.StatusInternalServerError && status.Code != http.StatusTooManyRequests:
		return err // such as a token that may not write here: waiting does not mend it
	default:
		class = driver.ErrUnavailable
	}
	return fmt.Errorf("%w: %w", class, err)
}
