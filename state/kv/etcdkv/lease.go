package etcdkv

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-os/go-os/state/kv/driver"
)

// leaseOf returns what a write is to live with: the lease it names, one of its own for a TTL, or none.
func (s *Store) leaseOf(ctx context.Context, req driver.PutRequest) (clientv3.LeaseID, error) {
	if req.TTL == 0 {
		return parse(req.Lease)
	}
	resp, err := s.client.Grant(ctx, int64(req.TTL/time.Second))
	if err != nil {
		return 0, s.classify(ctx, err)
	}
	return resp.ID, nil
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

// Grant implements driver.Leaser.
func (s *Store) Grant(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
	resp, err := s.client.Grant(ctx, int64(ttl/time.Second))
	if err != nil {
		return "", s.classify(ctx, err)
	}
	return driver.LeaseID(strconv.FormatInt(int64(resp.ID), 16)), nil
}

// KeepAlive implements driver.Leaser.
func (s *Store) KeepAlive(ctx context.Context, id driver.LeaseID) error {
	n, err := parse(id)
	if err != nil {
		return err
	}
	if _, err := s.client.KeepAliveOnce(ctx, n); err != nil {
		return s.classify(ctx, err)
	}
	return nil
}

// Revoke implements driver.Leaser.
func (s *Store) Revoke(ctx context.Context, id driver.LeaseID) error {
	n, err := parse(id)
	if err != nil {
		return err
	}
	if _, err := s.client.Revoke(ctx, n); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return s.classify(ctx, err)
	}
	return nil
}
