package natskv

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/internal/paged"
)

// readers is the number of concurrent reads of a page's items.
const readers = 16

// List implements driver.Lister.
func (d *Driver) List(ctx context.Context, req driver.ListRequest) (driver.Page, error) {
	return paged.List(ctx, req, d.keys, d.read)
}

// keys returns the keys below a prefix, in order.
func (d *Driver) keys(ctx context.Context, prefix string) ([]string, error) {
	bucket, err := d.open(ctx)
	if err != nil {
		return nil, err
	}
	name := filter(prefix)
	watcher, err := bucket.watches.WatchFiltered(ctx, []string{name}, jetstream.MetaOnly())
	if err != nil {
		return nil, d.classify(ctx, err)
	}
	defer end(watcher)
	found := map[string]struct{}{} // a key that changes meanwhile is returned again
	_, err = d.current(ctx, source{watcher: watcher, name: name}, func(entry jetstream.KeyValueEntry, _ bool) error {
		key, err := unescape(entry.Key())
		switch {
		case err != nil:
			return err
		case entry.Operation() != jetstream.KeyValuePut:
			delete(found, key)
		case strings.HasPrefix(key, prefix):
			found[key] = struct{}{}
		}
		return nil
	})
	return slices.Sorted(maps.Keys(found)), err
}

// read returns the items of the given keys, without those that were deleted meanwhile.
func (d *Driver) read(ctx context.Context, keys []string) ([]driver.Item, error) {
	items := make([]driver.Item, len(keys))
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for i, key := range keys {
		group.Go(func() (err error) {
			if items[i], err = d.Get(inner, key); errors.Is(err, driver.ErrNotFound) {
				return nil
			}
			return err
		})
	}
	err := group.Wait()
	return slices.DeleteFunc(items, func(it driver.Item) bool { return it.Version == 0 }), err
}
