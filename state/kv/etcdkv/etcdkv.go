// Package etcdkv is a key-value driver for etcd 3.
//
// Guarantees:
//   - Reads and writes are linearizable. The version of an item is its ModRevision.
//   - An acknowledged write is on the disks of a majority.
//   - A listing shows one revision. It fails with ErrUnavailable if etcd compacts that revision while the list is read.
//   - A watch sees every change in order, and resumes until etcd compacts. An idle driver polls nothing.
//   - A watch resyncs after the cluster was replaced or restored. Its next request shows that: the cluster has another ID, a lower raft term or
//     a lower revision. A copy of the data folder shows none of these once it has passed the old revision. Restore with etcdutl, and with a new
//     token or --bump-revision and --mark-compacted.
//   - Keys are etcd's keys, byte for byte: no prefix is added. Use Driver.Namespace to share a cluster.
//
// An item with a TTL has its own lease, which ends when the item is overwritten or deleted. etcd's TTLs are whole seconds, at least two,
// and never end early. After a change of its leader every lease gets its whole TTL again; MaxLateness does not include that. Reads do not
// return the TTL, which would need a second request.
//
// A write reads the lease of the item that it replaces. With authentication on, a client needs permission to read the keys that it
// writes.
//
// While etcd is down, each failed request makes the client connect again, once a second at most. Without that, gRPC would wait for up to two
// minutes after etcd has returned.
//
// Set DialKeepAliveTime and DialKeepAliveTimeout in the client's Config. Without them a watch does not notice a server that is silent but
// does not close its connections.
package etcdkv

import (
	"cmp"
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/state/internal/etcderr"
	"github.com/go-os/go-os/state/kv/driver"
)

const (
	// MaxKey is the length of the longest key, in bytes.
	MaxKey = 32 << 10
	// DefaultMaxRequest is etcd's own default of --max-request-bytes.
	DefaultMaxRequest = 1536 << 10
	// envelope is an upper bound of the size of a request without its key and value.
	envelope = 1 << 10
)

// Options configure New.
type Options struct {
	// MaxRequest is the --max-request-bytes of the cluster. A value may use all of it except MaxKey and 1 KiB. Default:
	// DefaultMaxRequest.
	MaxRequest int
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	return all, defaults.Fill("etcdkv.Options.MaxRequest", &all.MaxRequest, DefaultMaxRequest)
}

// Driver implements driver.Driver. It is safe for concurrent use.
type Driver struct {
	client *clientv3.Client
	caps   driver.Capabilities
	fault  error // of every call; nil unless New was given invalid arguments
	life   life.Life

	history  history
	redialer redialer
	renewals *renewals
}

// New returns a driver on a client, which it does not close.
func New(client *clientv3.Client, opts *Options) *Driver {
	o, err := opts.withDefaults()
	return &Driver{client: client, renewals: newRenewals(), fault: cmp.Or(defaults.Given("etcdkv: New", "client", client), err), caps: driver.Capabilities{
		System: "etcd",
		Abilities: driver.CAS | driver.Expiry | driver.List | driver.Watch | driver.Leases |
			driver.Durable | driver.ExactEvents | driver.SnapshotList | driver.FreshReads,
		TTL:      driver.TTLLimits{Min: 2 * time.Second, Max: 9_000_000_000 * time.Second, Granularity: time.Second, MaxLateness: 2 * time.Second},
		MaxKey:   MaxKey,
		MaxValue: max(o.MaxRequest-MaxKey-envelope, 1),
	}}
}

// Validate implements driver.Validator.
func (d *Driver) Validate() error { return d.fault }

// Capabilities implements driver.Driver.
func (d *Driver) Capabilities() driver.Capabilities { return d.caps }

// Get implements driver.Driver.
func (d *Driver) Get(ctx context.Context, key string) (driver.Item, error) {
	resp, err := d.client.Get(ctx, key)
	if err != nil {
		return driver.Item{}, d.classify(ctx, err)
	}
	if len(resp.Kvs) == 0 {
		return driver.Item{}, driver.ErrNotFound
	}
	return item(resp.Kvs[0]), nil
}

// Put implements driver.Driver. A write with a TTL needs a second request, which grants its lease. Replacing an item that has a TTL needs
// another one, which revokes that item's lease.
func (d *Driver) Put(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
	lease, err := d.leaseOf(ctx, req)
	if err != nil {
		return 0, err
	}
	put := clientv3.OpPut(req.Key, string(req.Value), clientv3.WithLease(lease), clientv3.WithPrevKV())
	version, err := d.write(ctx, conditions(req.Key, req.IfAbsent, req.IfVersion), put)
	if refused(err) {
		d.endOwn(ctx, lease)
	}
	return version, err
}

// write writes one key if the conditions hold, and revokes the lease of the replaced item if no other item has it. The response must
// contain the replaced item: etcd does not return its lease without its value.
func (d *Driver) write(ctx context.Context, conds []clientv3.Cmp, op clientv3.Op) (driver.Version, error) {
	version, replaced, err := d.commit(ctx, conds, op)
	if err != nil {
		return 0, err
	}
	for _, item := range replaced {
		d.endOwn(ctx, clientv3.LeaseID(item.Lease))
	}
	return version, nil
}

// commit returns the revision of a write, and the items that it replaced. Without conditions it is not a transaction, which costs etcd more.
func (d *Driver) commit(ctx context.Context, conds []clientv3.Cmp, op clientv3.Op) (driver.Version, []*mvccpb.KeyValue, error) {
	if len(conds) == 0 {
		resp, err := d.client.Do(ctx, op)
		switch {
		case err != nil:
			return 0, nil, d.classify(ctx, err)
		case resp.Put() != nil:
			return driver.Version(resp.Put().Header.Revision), before(resp.Put().PrevKv), nil
		default:
			return driver.Version(resp.Del().Header.Revision), resp.Del().PrevKvs, nil
		}
	}
	resp, err := d.client.Txn(ctx).If(conds...).Then(op).Commit()
	switch {
	case err != nil:
		return 0, nil, d.classify(ctx, err)
	case !resp.Succeeded:
		return 0, nil, driver.ErrConflict
	}
	version := driver.Version(resp.Header.Revision)
	if put := resp.Responses[0].GetResponsePut(); put != nil {
		return version, before(put.PrevKv), nil
	}
	return version, resp.Responses[0].GetResponseDeleteRange().GetPrevKvs(), nil
}

// before returns the item that a put replaced, or none if the key is new.
func before(item *mvccpb.KeyValue) []*mvccpb.KeyValue {
	if item == nil {
		return nil
	}
	return []*mvccpb.KeyValue{item}
}

// refused reports whether an error means that a write did not take effect. After any other error it may have.
func refused(err error) bool {
	return errors.Is(err, driver.ErrConflict) || errors.Is(err, driver.ErrTooLarge) || errors.Is(err, driver.ErrNotFound)
}

// conditions returns the comparisons of a transaction.
func conditions(key string, absent bool, version driver.Version) (all []clientv3.Cmp) {
	if absent {
		all = append(all, clientv3.Compare(clientv3.CreateRevision(key), "=", 0))
	}
	if version != 0 {
		all = append(all, clientv3.Compare(clientv3.ModRevision(key), "=", int64(version)))
	}
	return all
}

// Delete implements driver.Driver.
func (d *Driver) Delete(ctx context.Context, req driver.DeleteRequest) error {
	_, err := d.write(ctx, conditions(req.Key, false, req.IfVersion), clientv3.OpDelete(req.Key, clientv3.WithPrevKV()))
	return err
}

// Close implements driver.Driver. The client stays open.
func (d *Driver) Close() error {
	d.life.End()
	d.renewals.close()
	return nil
}

// classify adds the class to an error of the client, which stays reachable.
func (d *Driver) classify(ctx context.Context, err error) error {
	d.redialer.failed(d.client)
	class := etcderr.Class(err)
	switch {
	case ctx.Err() != nil:
		class = ctx.Err()
	case class == driver.ErrUnavailable && d.life.Err() != nil && !errors.Is(err, clientv3.ErrNoAvailableEndpoints):
		class = driver.ErrClosed
	}
	return driver.Classify(class, err)
}
