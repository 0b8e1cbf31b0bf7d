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
func (s *Driver) cached(ctx context.Context, key string) (driver.Item, error) {
	item, _, err := s.look(ctx, key)
	return item, err
}

// look is cached, and reports whether the answer came from memory.
func (s *Driver) look(ctx context.Context, key string) (item driver.Item, hit bool, err error) {
	result := s.client.DoCache(ctx, s.client.B().Get().Key(key).Cache().Pin(), s.cacheTTL)
	item, err = s.item(ctx, key, result)
	if err == nil {
		item.Value = bytes.Clone(item.Value) // the bytes belong to the cache
	}
	return item, result.IsCacheHit(), err
}

// awaitCache returns the outcome of a write once the cache no longer has the previous item. The client writes on one connection and
// receives invalidations on another, so the answer to a write may precede the invalidation. version is the version that was written; zero
// means a deletion.
func (s *Driver) awaitCache(ctx context.Context, key string, version driver.Version, outcome error) error {
	conflict := errors.Is(outcome, driver.ErrConflict)
	if s.cacheTTL == 0 || outcome != nil && !conflict {
		return outcome
	}
	const pause = 50 * time.Microsecond // the server has already sent the invalidation
	for {
		seen, hit, err := s.look(ctx, key)
		switch {
		case err != nil && !errors.Is(err, driver.ErrNotFound):
			return err
		case !hit, !conflict && seen.Version == version:
			return outcome
		}
		now, err := s.item(ctx, key, s.client.Do(ctx, s.get(key)))
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
