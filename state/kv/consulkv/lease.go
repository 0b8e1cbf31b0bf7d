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

// lockDelay is how long a key cannot be locked after its session has ended. Consul's default of 15 s protects locks, which items do not
// need. Zero would mean the default.
const lockDelay = time.Millisecond

// Grant implements driver.Leaser. A lease is a session whose keys are deleted when it ends. It has no health checks, which could end it early.
func (d *Driver) Grant(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
	id, _, err := d.client.Session().CreateNoChecks(&api.SessionEntry{
		TTL: ttl.String(), Behavior: api.SessionBehaviorDelete, LockDelay: lockDelay,
	}, (&api.WriteOptions{}).WithContext(ctx))
	if err != nil {
		return "", d.classify(ctx, err)
	}
	return driver.LeaseID(id), nil
}

// Renew implements driver.Leaser.
func (d *Driver) Renew(ctx context.Context, id driver.LeaseID) error {
	session, _, err := d.client.Session().Renew(string(id), (&api.WriteOptions{}).WithContext(ctx))
	switch {
	case gone(err), err == nil && session == nil:
		return driver.ErrNotFound
	default:
		return d.classify(ctx, err)
	}
}

// gone reports whether an error means that Consul has no such session. Consul has several such answers.
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
