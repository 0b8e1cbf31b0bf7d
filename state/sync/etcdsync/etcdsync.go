// Package etcdsync is a driver of state/sync for etcd 3.
//
//	client, err := clientv3.New(clientv3.Config{Endpoints: …, DialKeepAliveTime: 5 * time.Second, DialKeepAliveTimeout: 2 * time.Second})
//	…
//	session := sync.New(etcdsync.New(client, nil), nil)
//
// A claim is a key below the name's prefix, attached to the session's lease. Its token is the revision that created it (CreateRevision),
// which orders claims as etcd received them. A lock without contention is one request, and so is its release.
//
// Guarantees:
//   - Linearizable: reads that a majority has confirmed decide which claim has a seat. Watches only trigger the next read.
//   - A waiter for a lock watches only the claim right before its own, for any number of waiters. For a semaphore, the first waiter
//     watches all holders, and every other one watches the waiter before it.
//   - When a watch is lost, or its revision was compacted, the driver reads again. A lost watch may delay a grant, but never causes one.
//   - After a change of its leader, etcd gives every lease its whole TTL again; MaxLateness includes one such change.
//   - With several endpoints, a renewal that one of them does not answer quickly is also sent to the next one.
//   - In the state NOSPACE etcd refuses new claims. Existing claims can be renewed and released, and waiters get their seats.
//
// # Versions
//
// The cluster must run etcd 3.5.11 or later. In earlier versions, a member may not notice that it no longer leads. It may then confirm a
// renewal without effect, or end a lease that was renewed (etcd#15247, etcd#16822). The context of a grant may then outlive its seat. A
// sync.Fence still refuses its token.
//
// # Restores
//
// A cluster that is restored from a snapshot continues with the revision of the snapshot, so it repeats tokens. Restore with a higher revision
// (etcdutl snapshot restore --bump-revision), or raise the epoch of every sync.Fence.
//
// # Clients
//
// The driver does not use the client's package concurrency. The Election of that package may report a leader whose key etcd does not have
// (etcd#19597), and leaves keys behind when a campaign fails (etcd#21128).
//
// Set DialKeepAliveTime and DialKeepAliveTimeout in the client's Config. Without them, waiters do not notice a server that is silent but does not
// close its connections.
package etcdsync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/state/internal/etcderr"
	"github.com/go-os/go-os/state/sync/driver"
)

const (
	// DefaultPrefix is the default of Options.Prefix.
	DefaultPrefix = "goos/sync/"
	// MaxName is the length of the longest name, in bytes.
	MaxName = 4 << 10
	// MaxValue is the length of the longest value, in bytes.
	MaxValue = 64 << 10
)

// Options configure New.
type Options struct {
	// Prefix of all keys. Processes that share locks must use the same prefix. Default: DefaultPrefix.
	Prefix string
}

func (o *Options) withDefaults() Options {
	all := defaults.Copy(o)
	all.Prefix = cmp.Or(all.Prefix, DefaultPrefix)
	return all
}

// Driver implements driver.Driver. It is safe for concurrent use.
type Driver struct {
	client *clientv3.Client
	prefix string
	fault  error // of every call; nil unless New was given invalid arguments
	life   life.Life
}

// New returns a driver on a client, which it does not close.
func New(client *clientv3.Client, opts *Options) *Driver {
	o := opts.withDefaults()
	return &Driver{client: client, prefix: o.Prefix, fault: defaults.Given("etcdsync: New", "client", client)}
}

// Validate implements driver.Validator.
func (d *Driver) Validate() error { return d.fault }

// Capabilities implements driver.Driver.
func (*Driver) Capabilities() driver.Capabilities {
	return driver.Capabilities{
		System: "etcd", Safety: driver.Linearizable, Ordered: true, MaxName: MaxName, MaxValue: MaxValue,
		Lease: driver.LeaseLimits{
			Min: 2 * time.Second, Max: 9_000_000_000 * time.Second, Granularity: time.Second, Stretch: 2, MaxLateness: 3 * time.Second,
		},
	}
}

// Close implements driver.Driver. The client stays open.
func (d *Driver) Close() error {
	d.life.End()
	return nil
}

// Grant implements driver.Leaser.
func (d *Driver) Grant(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
	resp, err := d.client.Grant(ctx, int64(ttl/time.Second))
	if err != nil {
		return "", d.classify(ctx, err)
	}
	return driver.LeaseID(strconv.FormatInt(int64(resp.ID), 16)), nil
}

// Renew implements driver.Leaser. The claims are attached to the lease, so renewing it renews them. A read finds claims that were removed.
func (d *Driver) Renew(ctx context.Context, id driver.LeaseID, claims []driver.Claim) (gone []driver.Claim, err error) {
	n, err := parse(id)
	if err != nil {
		return nil, err
	}
	_, err = hedge(ctx, len(d.client.Endpoints()), func(ctx context.Context) (*clientv3.LeaseKeepAliveResponse, error) {
		resp, err := d.client.KeepAliveOnce(ctx, n)
		return resp, d.classify(ctx, err)
	})
	if err != nil {
		return nil, err
	}
	for some := range slices.Chunk(claims, maxOps) {
		missing, err := d.missing(ctx, some)
		if err != nil {
			return nil, err
		}
		gone = append(gone, missing...)
	}
	return gone, nil
}

// maxOps is the number of operations that a transaction may have by etcd's default.
const maxOps = 128

// missing returns the claims whose keys do not exist, or belong to other claims.
func (d *Driver) missing(ctx context.Context, claims []driver.Claim) (gone []driver.Claim, err error) {
	ops := make([]clientv3.Op, len(claims))
	for i, c := range claims {
		ops[i] = clientv3.OpGet(d.key(c), clientv3.WithKeysOnly())
	}
	resp, err := hedge(ctx, len(d.client.Endpoints()), func(ctx context.Context) (*clientv3.TxnResponse, error) {
		resp, err := d.client.Txn(ctx).Then(ops...).Commit()
		return resp, d.classify(ctx, err)
	})
	if err != nil {
		return nil, err
	}
	for i, c := range claims {
		found := resp.Responses[i].GetResponseRange().Kvs
		if len(found) == 0 || driver.Token(found[0].CreateRevision) != c.Token {
			gone = append(gone, c)
		}
	}
	return gone, nil
}

// Revoke implements driver.Leaser.
func (d *Driver) Revoke(ctx context.Context, id driver.LeaseID) error {
	n, err := parse(id)
	if err != nil {
		return err
	}
	if _, err := d.client.Revoke(ctx, n); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return d.classify(ctx, err)
	}
	return nil
}

func parse(id driver.LeaseID) (clientv3.LeaseID, error) {
	n, err := strconv.ParseInt(string(id), 16, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%w: %q is no lease of etcd", driver.ErrInvalid, id)
	}
	return clientv3.LeaseID(n), nil
}

// The prefixes of keys other than claims. A name in a key ends with a zero byte, and its own zero bytes are escaped, so that no queue is
// a prefix of another. A name is not empty, so no queue begins with a zero byte.
const (
	tombstones = "\x00t" // of withdrawn claims
	markers    = "\x00w" // of claims that may wait for a seat of a semaphore
)

// queue returns the prefix of a name's claims.
func (d *Driver) queue(name string) string { return d.prefix + terminated(name) }

func (d *Driver) key(c driver.Claim) string { return d.queue(c.Name) + c.ID }

// tombstone returns the key that keeps a withdrawn claim from being created.
func (d *Driver) tombstone(c driver.Claim) string {
	return d.prefix + tombstones + terminated(c.Name) + c.ID
}

// marker returns the key that a claim deletes when it gets its seat after waiting.
func (d *Driver) marker(name, id string) string {
	return d.prefix + markers + terminated(name) + id
}

func terminated(name string) string {
	return strings.NewReplacer("\x00", "\x01\x02", "\x01", "\x01\x01").Replace(name) + "\x00"
}

// classify adds the class to an error of the client, which stays reachable. It returns nil for nil.
func (d *Driver) classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	class, ended := etcderr.Class(err), d.life.Cause(ctx)
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		class = driver.ErrLost
	case ended != nil:
		class = ended
	case class == driver.ErrDenied:
		err = fmt.Errorf("grant the client's user read and write on the keys below %q: %w", d.prefix, err)
	default:
		class = driver.ErrUnavailable
	}
	return driver.Classify(class, err)
}
