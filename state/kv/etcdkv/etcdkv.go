// Package etcdkv is a key-value driver for etcd 3.
//
// Guarantees:
//   - Reads and writes are linearizable. The version of an item is its ModRevision.
//   - An acknowledged write is on the disks of a majority.
//   - A listing shows one revision. It fails with ErrUnavailable if etcd compacts that revision while the list is read.
//   - A watch sees every change in order, and resumes until etcd compacts. Between two requests nothing is polled.
//   - Keys are etcd's keys, byte for byte: no prefix is added. Use kv.Namespace to share a cluster.
//
// An item with a TTL has a lease of its own. etcd counts in whole seconds, takes two at least, and is late rather than early:
// after a change of its leader it gives every lease its whole TTL again, which MaxLateness does not include. How long an
// item has left is not told, since that would be a second request.
//
// A broken connection is noticed by the client's keep-alive: set DialKeepAliveTime and DialKeepAliveTimeout of its Config,
// or a server that is silent without closing its connections goes unnoticed by watches.
package etcdkv

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/state/kv/driver"
)

const (
	// MaxKey is the length of the longest key, in bytes.
	MaxKey = 32 << 10
	// DefaultMaxRequest is etcd's own default of --max-request-bytes.
	DefaultMaxRequest = 1536 << 10
	// envelope is what a request holds besides a key and a value, generously.
	envelope = 1 << 10
)

// Options configure New.
type Options struct {
	// MaxRequest is the --max-request-bytes of the cluster, of which a key and its value may take what MaxKey leaves.
	// Default: DefaultMaxRequest.
	MaxRequest int
}

// Store is the driver. It is safe for concurrent use.
type Store struct {
	client *clientv3.Client
	caps   driver.Capabilities
	closed atomic.Bool
}

// New returns a driver on a client, which it does not close.
func New(client *clientv3.Client, opts *Options) *Store {
	limit := DefaultMaxRequest
	if opts != nil && opts.MaxRequest > 0 {
		limit = opts.MaxRequest
	}
	return &Store{client: client, caps: driver.Capabilities{
		System: "etcd",
		Abilities: driver.CAS | driver.Expiry | driver.List | driver.Watch | driver.Leases |
			driver.Durable | driver.ExactEvents | driver.SnapshotList,
		TTL:      driver.TTLLimits{Min: 2 * time.Second, Max: 9_000_000_000 * time.Second, Granularity: time.Second, MaxLateness: 2 * time.Second},
		MaxKey:   MaxKey,
		MaxValue: max(limit-MaxKey-envelope, 1),
	}}
}

// Capabilities implements driver.Store.
func (s *Store) Capabilities() driver.Capabilities { return s.caps }

// Get implements driver.Store.
func (s *Store) Get(ctx context.Context, key string) (driver.Item, error) {
	resp, err := s.client.Get(ctx, key)
	if err != nil {
		return driver.Item{}, s.classify(ctx, err)
	}
	if len(resp.Kvs) == 0 {
		return driver.Item{}, driver.ErrNotFound
	}
	return item(resp.Kvs[0]), nil
}

// Put implements driver.Store. A write with a TTL takes two requests: one for its lease.
func (s *Store) Put(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
	lease, err := s.leaseOf(ctx, req)
	if err != nil {
		return 0, err
	}
	if req.IfAbsent || req.IfVersion != 0 {
		return s.putIf(ctx, req, lease)
	}
	resp, err := s.client.Put(ctx, req.Key, string(req.Value), clientv3.WithLease(lease))
	if err != nil {
		return 0, s.classify(ctx, err)
	}
	return driver.Version(resp.Header.Revision), nil
}

// putIf is a write with a condition.
func (s *Store) putIf(ctx context.Context, req driver.PutRequest, lease clientv3.LeaseID) (driver.Version, error) {
	put := clientv3.OpPut(req.Key, string(req.Value), clientv3.WithLease(lease))
	resp, err := s.client.Txn(ctx).If(conditions(req.Key, req.IfAbsent, req.IfVersion)...).Then(put).Commit()
	if err != nil {
		return 0, s.classify(ctx, err)
	}
	if !resp.Succeeded {
		if req.TTL > 0 { // nobody else knows of the lease; if this fails, it ends by itself
			_, _ = s.client.Revoke(ctx, lease)
		}
		return 0, driver.ErrConflict
	}
	return driver.Version(resp.Header.Revision), nil
}

// conditions are etcd's comparisons.
func conditions(key string, absent bool, version driver.Version) (all []clientv3.Cmp) {
	if absent {
		all = append(all, clientv3.Compare(clientv3.CreateRevision(key), "=", 0))
	}
	if version != 0 {
		all = append(all, clientv3.Compare(clientv3.ModRevision(key), "=", int64(version)))
	}
	return all
}

// Delete implements driver.Store.
func (s *Store) Delete(ctx context.Context, req driver.DeleteRequest) error {
	if req.IfVersion == 0 {
		_, err := s.client.Delete(ctx, req.Key)
		if err != nil {
			err = s.classify(ctx, err)
		}
		return err
	}
	resp, err := s.client.Txn(ctx).If(conditions(req.Key, false, req.IfVersion)...).Then(clientv3.OpDelete(req.Key)).Commit()
	if err != nil {
		return s.classify(ctx, err)
	}
	if !resp.Succeeded {
		return driver.ErrConflict
	}
	return nil
}

// Close implements driver.Store. The client stays open.
func (s *Store) Close() error {
	s.closed.Store(true)
	return nil
}

// classify gives an error of the client its class; etcd's own stays reachable.
func (s *Store) classify(ctx context.Context, err error) error {
	class := driver.ErrUnavailable
	switch {
	case ctx.Err() != nil:
		class = ctx.Err()
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		class = driver.ErrNotFound
	case errors.Is(err, rpctypes.ErrRequestTooLarge), status.Code(err) == codes.ResourceExhausted && !errors.Is(err, rpctypes.ErrNoSpace):
		class = driver.ErrTooLarge
	case errors.Is(err, clientv3.ErrNoAvailableEndpoints):
	case s.closed.Load():
		class = driver.ErrClosed
	}
	return fmt.Errorf("%w: %w", class, err)
}
