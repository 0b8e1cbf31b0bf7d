package memkv

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/tidwall/btree"

	"github.com/go-os/go-os/state/kv/driver"
)

// cursor is the position of a listing, in the tree as it was when the listing started. The tree shares its nodes with the store until a
// writer changes them. The garbage collector frees it when the listing ends.
type cursor struct {
	tree  *btree.Map[string, *item]
	after string
}

// List implements driver.Lister.
func (d *Driver) List(ctx context.Context, req driver.ListRequest) (driver.Page, error) {
	from, resumed := req.Next.(cursor)
	if err := ctx.Err(); err != nil {
		return driver.Page{}, err
	}
	if !resumed {
		if err := d.lock(ctx); err != nil {
			return driver.Page{}, err
		}
		from.tree = d.order.Copy()
		d.mu.Unlock()
	}
	var page driver.Page
	from.tree.Ascend(max(req.Prefix, from.after), func(key string, it *item) bool {
		if !strings.HasPrefix(key, req.Prefix) {
			return false
		}
		if resumed && key == from.after {
			return true
		}
		if len(page.Items) == req.Limit {
			page.Next = cursor{tree: from.tree, after: page.Items[len(page.Items)-1].Key}
			return false
		}
		if shown, alive := it.show(); alive {
			page.Items = append(page.Items, shown)
		}
		return true
	})
	return page, nil
}

// show returns a copy of the item, and whether it has not expired. It needs no lock. The deadline of a lease moves, so an item with a lease
// has no TTL.
func (it *item) show() (shown driver.Item, alive bool) {
	shown = driver.Item{Key: it.key, Value: bytes.Clone(it.value), Version: it.version}
	if it.end != nil && it.lease == nil {
		shown.TTL = time.Until(it.end.at)
		return shown, shown.TTL > 0
	}
	return shown, true
}

// GetMany implements driver.Batcher: all items as of one moment.
func (d *Driver) GetMany(ctx context.Context, keys []string) ([]driver.Result, error) {
	if err := d.lock(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	results := make([]driver.Result, len(keys))
	for i, key := range keys {
		it := d.items[key]
		if it == nil {
			results[i].Err = driver.ErrNotFound
			continue
		}
		results[i].Item, _ = it.show()
	}
	return results, nil
}

// PutMany implements driver.Batcher.
func (d *Driver) PutMany(ctx context.Context, reqs []driver.PutRequest) ([]driver.Result, error) {
	if err := d.lock(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	results := make([]driver.Result, len(reqs))
	for i, req := range reqs {
		results[i].Item.Key = req.Key
		results[i].Item.Version, results[i].Err = d.put(req)
	}
	return results, nil
}

// Watch implements driver.Watcher.
func (d *Driver) Watch(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
	if err := d.lock(ctx); err != nil {
		return err
	}
	follower, err := d.feed.Follow(req)
	tree := d.order
	if req.Snapshot {
		tree = d.order.Copy()
	}
	d.mu.Unlock()
	if err != nil {
		return err
	}
	defer follower.Leave()
	if req.Snapshot {
		if err := emitAll(ctx, tree, req, emit); err != nil {
			return err
		}
	}
	if err := emit(driver.Event{Kind: driver.EventSynced, Position: follower.Start()}); err != nil {
		return err
	}
	return follower.Run(ctx, emit)
}

// emitAll emits the snapshot that a watch begins with. It includes items that expire meanwhile, since the events that follow report their
// removal.
func emitAll(ctx context.Context, tree *btree.Map[string, *item], req driver.WatchRequest, emit func(driver.Event) error) error {
	if err := emit(driver.Event{Kind: driver.EventResync}); err != nil {
		return err
	}
	var err error
	tree.Ascend(max(req.Prefix, req.Key), func(key string, it *item) bool {
		if key != req.Key && req.Key != "" || !strings.HasPrefix(key, req.Prefix) {
			return false
		}
		if err = ctx.Err(); err == nil {
			shown, _ := it.show()
			err = emit(driver.Event{Kind: driver.EventPut, Item: shown})
		}
		return err == nil
	})
	return err
}
