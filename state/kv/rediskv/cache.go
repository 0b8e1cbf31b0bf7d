package rediskv

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/state/kv/driver"
)

// cached answers a Get from memory if it can.
func (s *Store) cached(ctx context.Context, key string) (driver.Item, error) {
	item, _, err := s.look(ctx, key)
	return item, err
}

// look is cached, and tells whether the answer came from memory.
func (s *Store) look(ctx context.Context, key string) (item driver.Item, hit bool, err error) {
	result := s.client.DoCache(ctx, s.client.B().Get().Key(key).Cache().Pin(), s.cacheTTL)
	item, err = s.item(ctx, key, result)
	if err == nil {
		item.Value = bytes.Clone(item.Value) // the bytes that were handed out are the cache's
	}
	return item, result.IsCacheHit(), err
}

// awaitCache returns what became of a write, once the cache does not show what was before. The client writes on one connection and
// hears of changes on another, so the answer to the write may be here before the news that the cache is out of date. version is
// what was written; zero is a removal.
func (s *Store) awaitCache(ctx context.Context, key string, version driver.Version, became error) error {
	conflict := errors.Is(became, driver.ErrConflict)
	if s.cacheTTL == 0 || became != nil && !conflict {
		return became
	}
	const pause = 50 * time.Microsecond // the news has been sent already
	for {
		seen, hit, err := s.look(ctx, key)
		switch {
		case err != nil && !errors.Is(err, driver.ErrNotFound):
			return err
		case !hit, !conflict && seen.Version == version:
			return became
		}
		now, err := s.item(ctx, key, s.client.Do(ctx, s.get(key)))
		switch {
		case err != nil && !errors.Is(err, driver.ErrNotFound):
			return err
		case now.Version == seen.Version: // as it is: someone has written since, and the cache knows it
			return became
		}
		if err := backoff.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}
