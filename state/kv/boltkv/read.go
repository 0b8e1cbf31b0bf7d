package boltkv

import (
	"context"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/go-os/go-os/state/kv/driver"
)

// List implements driver.Lister. Page.Next is the last key of the page.
func (d *Driver) List(ctx context.Context, req driver.ListRequest) (page driver.Page, err error) {
	after, _ := req.Next.(string)
	err = d.view(ctx, func(tx *bbolt.Tx) error {
		return scan(tx, req.Prefix, after, func(it driver.Item) bool {
			if len(page.Items) == req.Limit {
				page.Next = page.Items[req.Limit-1].Key
				return false
			}
			page.Items = append(page.Items, it)
			return true
		})
	})
	return page, err
}

// GetMany implements driver.Batcher: all items as of one moment.
func (d *Driver) GetMany(ctx context.Context, keys []string) ([]driver.Result, error) {
	results := make([]driver.Result, len(keys))
	err := d.view(ctx, func(tx *bbolt.Tx) error {
		now := time.Now()
		for i, key := range keys {
			results[i].Item, results[i].Err = read(tx, key, now)
			results[i].Err = located(d.db.Path(), results[i].Err)
		}
		return nil
	})
	return results, err
}

// PutMany implements driver.Batcher. It is one transaction, but an item that fails does not affect the others.
func (d *Driver) PutMany(ctx context.Context, reqs []driver.PutRequest) ([]driver.Result, error) {
	results := make([]driver.Result, len(reqs))
	err := d.apply(ctx, func(w *writer) error {
		for i, req := range reqs {
			results[i].Item.Version, results[i].Err = w.put(req)
			results[i].Err = located(d.db.Path(), results[i].Err)
		}
		return nil
	})
	if err != nil {
		return nil, err // without results: the transaction may still be writing them
	}
	return results, nil
}

// Watch implements driver.Watcher.
func (d *Driver) Watch(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
	// A commit between Follow and Begin would be shown twice: in the snapshot and as events.
	d.commit.Lock()
	follower, err := d.feed.Follow(req)
	if err != nil {
		d.commit.Unlock()
		return err
	}
	defer follower.Leave()
	var tx *bbolt.Tx
	if req.Snapshot {
		tx, err = d.db.Begin(false)
	}
	d.commit.Unlock()
	if err != nil {
		return classify(err)
	}
	if req.Snapshot {
		if err := d.emitAll(ctx, tx, req, emit); err != nil {
			return err
		}
	}
	if err := emit(driver.Event{Kind: driver.EventSynced, Position: follower.Start()}); err != nil {
		return err
	}
	return follower.Run(ctx, emit)
}

// emitAll emits the snapshot that a watch begins with. It reads all of it first. The file cannot grow during a read transaction, so a
// consumer that writes would wait for its own watch.
func (d *Driver) emitAll(ctx context.Context, tx *bbolt.Tx, req driver.WatchRequest, emit func(driver.Event) error) error {
	var items []driver.Item
	err := guarded(d.db.Path(), func() error {
		defer func() { _ = tx.Rollback() }() // a read transaction can only fail to roll back if it has ended already
		return scan(tx, max(req.Prefix, req.Key), "", func(it driver.Item) bool {
			if req.Key == "" || it.Key == req.Key {
				items = append(items, it)
			}
			return req.Key == "" || !strings.HasPrefix(it.Key, req.Key)
		})
	})
	if err != nil {
		return located(d.db.Path(), err)
	}
	if err := emit(driver.Event{Kind: driver.EventResync}); err != nil {
		return err
	}
	for _, it := range items {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := emit(driver.Event{Kind: driver.EventPut, Item: it}); err != nil {
			return err
		}
	}
	return nil
}
