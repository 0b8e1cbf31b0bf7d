package etcdkv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-os/go-os/state/kv/driver"
)

// The ID of a lease that belongs to one item ends in a mark. It shows a later writer of the key, on any client, that no other item has the
// lease. Of the IDs that etcd chooses, one in eight million has the mark.
const (
	ownBits = 23
	ownMask = 1<<ownBits - 1
	ownMark = 0x6f_7363 & ownMask
)

func own(id clientv3.LeaseID) bool { return id&ownMask == ownMark }

// newOwn returns an ID for the lease of one item. It is positive, like the IDs that etcd chooses.
func newOwn() int64 { return int64(rand.Uint64()>>1)&^ownMask | ownMark }

// leaseOf returns the lease of a write: the requested one, a new one for a TTL, or none.
func (d *Driver) leaseOf(ctx context.Context, req driver.PutRequest) (clientv3.LeaseID, error) {
	if req.TTL == 0 {
		return parse(req.Lease)
	}
	leases := clientv3.RetryLeaseClient(d.client) // clientv3.Client.Grant cannot choose an ID
	for {
		resp, err := leases.LeaseGrant(ctx, &etcdserverpb.LeaseGrantRequest{TTL: int64(req.TTL / time.Second), ID: newOwn()})
		err = rpctypes.Error(err)
		switch {
		case errors.Is(err, rpctypes.ErrLeaseExist):
		case err != nil:
			return 0, d.classify(ctx, err)
		default:
			return clientv3.LeaseID(resp.ID), nil
		}
	}
}

// endOwn revokes the lease of an item that no longer exists, if the lease was its own. If this fails, the lease ends after its TTL.
func (d *Driver) endOwn(ctx context.Context, id clientv3.LeaseID) {
	if own(id) {
		_, _ = d.client.Revoke(ctx, id)
	}
}

func parse(id driver.LeaseID) (clientv3.LeaseID, error) {
	if id == "" {
		return clientv3.NoLease, nil
	}
	n, err := strconv.ParseInt(string(id), 16, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %q is no lease of etcd: %w", driver.ErrInvalid, id, err)
	}
	return clientv3.LeaseID(n), nil
}

// Grant implements driver.Leaser. It revokes a lease whose ID has the mark by chance, and grants another.
func (d *Driver) Grant(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
	for {
		resp, err := d.client.Grant(ctx, int64(ttl/time.Second))
		if err != nil {
			return "", d.classify(ctx, err)
		}
		if !own(resp.ID) {
			return driver.LeaseID(strconv.FormatInt(int64(resp.ID), 16)), nil
		}
		d.endOwn(ctx, resp.ID)
	}
}

// Renew implements driver.Leaser.
func (d *Driver) Renew(ctx context.Context, id driver.LeaseID) error {
	n, err := parse(id)
	if err != nil {
		return err
	}
	if err := d.renewals.renew(ctx, d.client, n); err != nil {
		return d.classify(ctx, err)
	}
	return nil
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
