package rediskv

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/state/kv/driver"
)

// cached returns the item at key from memory if possible.
func (d *Driver) cached(ctx context.Context, key string) (driver.Item, error) {
	item, _, err := d.look(ctx, key)
	return item, err
}

// look is cached, and reports whether the answer came from memory.
func (d *Driver) look(ctx context.Context, key string) (item driver.Item, hit bool, err error) {
	result := d.client.DoCache(ctx, d.client.B().Get().Key(key).Cache().Pin(), d.cacheTTL)
	item, err = d.item(ctx, key, result)
	if err == nil {
		item.Value = bytes.Clone(item.Value) // the bytes belong to the cache
	}
	return item, result.IsCacheHit(), err
}

// awaitCache returns the outcome of a write once the cache no longer has the previous item. The client writes on one connection and
// receives invalidations on another, so the answer to a write may precede the invalidation. version is the version that was written; zero
// means a deletion.
func (d *Driver) awaitCache(ctx context.Context, key string, version driver.Version, outcome error) error {
	conflict := errors.Is(outcome, driver.ErrConflict)
	if d.cacheTTL == 0 || outcome != nil && !conflict {
		return outcome
	}
	const pause = 50 * time.Microsecond // the server has already sent the invalidation
	for {
		seen, hit, err := d.look(ctx, key)
		switch {
		case err != nil && !errors.Is(err, driver.ErrNotFound):
			return err
		case !hit, !conflict && seen.Version == version:
			return outcome
		}
		now, err := d.item(ctx, key, d.client.Do(ctx, d.get(key)))
		switch {
		case err != nil && !errors.Is(err, driver.ErrNotFound):
			return err
		case now.Version == seen.Version: // the cache is current: another client has written since
			return outcome
		}
		if err := backoff.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}
