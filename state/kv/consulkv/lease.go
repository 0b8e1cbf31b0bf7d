package consulkv

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/state/kv/driver"
)

// lockDelay is for how long a key whose session has ended may not be written with another. Consul's default of 15 s guards
// locks; an item has nothing to guard. Zero would mean the default.
const lockDelay = time.Millisecond

// Grant implements driver.Leaser: a lease is a session whose keys are deleted when it ends. No health check ends it early.
func (s *Store) Grant(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
	id, _, err := s.client.Session().CreateNoChecks(&api.SessionEntry{
		TTL: ttl.String(), Behavior: api.SessionBehaviorDelete, LockDelay: lockDelay,
	}, (&api.WriteOptions{}).WithContext(ctx))
	if err != nil {
		return "", s.classify(ctx, err)
	}
	return driver.LeaseID(id), nil
}

// Renew implements driver.Leaser.
func (s *Store) Renew(ctx context.Context, id driver.LeaseID) error {
	session, _, err := s.client.Session().Renew(string(id), (&api.WriteOptions{}).WithContext(ctx))
	switch {
	case gone(err), err == nil && session == nil:
		return driver.ErrNotFound
	default:
		return s.classify(ctx, err)
	}
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
func (s *Store) Revoke(ctx context.Context, id driver.LeaseID) error {
	_, err := s.client.Session().Destroy(string(id), (&api.WriteOptions{}).WithContext(ctx))
	if gone(err) {
		return nil
	}
	return s.classify(ctx, err)
}
