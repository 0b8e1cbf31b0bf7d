package rediskv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/rueidis"

	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/internal/paged"
	"github.com/go-os/go-os/state/kv/internal/sealed"
)

// GetMany implements driver.Batcher: one pipeline. On a cluster it is one for each node.
func (d *Driver) GetMany(ctx context.Context, keys []string) ([]driver.Result, error) {
	commands := make(rueidis.Commands, len(keys))
	for i, key := range keys {
		commands[i] = d.get(key)
	}
	results := make([]driver.Result, len(keys))
	for i, answer := range d.client.DoMulti(ctx, commands...) {
		results[i].Item, results[i].Err = d.item(ctx, keys[i], answer)
	}
	return results, ctx.Err()
}

// PutMany implements driver.Batcher: one pipeline. On a cluster it is one for each node.
func (d *Driver) PutMany(ctx context.Context, reqs []driver.PutRequest) ([]driver.Result, error) {
	results := make([]driver.Result, len(reqs))
	commands := make(rueidis.Commands, len(reqs))
	for i, req := range reqs {
		results[i].Item.Version = sealed.NewVersion()
		commands[i] = d.put(req, results[i].Item.Version)
	}
	for i, answer := range d.client.DoMulti(ctx, commands...) {
		results[i].Err = d.written(ctx, answer)
	}
	for i := range results { // in the order of the writes, so that the last of two writes of a key counts
		results[i].Err = d.awaitCache(ctx, reqs[i].Key, results[i].Item.Version, results[i].Err)
	}
	return results, ctx.Err()
}

// scanCount is the number of keys that Redis examines per step of a scan. It serves other clients between the steps.
const scanCount = 1000

// List implements driver.Lister.
func (d *Driver) List(ctx context.Context, req driver.ListRequest) (driver.Page, error) {
	return paged.List(ctx, req, d.keys, d.read)
}

// read returns the items of the given keys, without those that were deleted meanwhile.
func (d *Driver) read(ctx context.Context, keys []string) ([]driver.Item, error) {
	found, err := d.GetMany(ctx, keys)
	if err != nil {
		return nil, err
	}
	items := make([]driver.Item, 0, len(keys))
	for i, r := range found {
		switch {
		case r.Err == nil:
			items = append(items, r.Item)
		case errors.Is(r.Err, driver.ErrNotFound): // deleted since the keys were collected
		default:
			return nil, fmt.Errorf("key %q: %w", keys[i], r.Err)
		}
	}
	return items, nil
}

// keys returns the keys below a prefix, in order. It includes every key that exists during the whole scan.
func (d *Driver) keys(ctx context.Context, prefix string) ([]string, error) {
	pattern := literal(prefix) + "*"
	seen := map[string]struct{}{} // a scan may show a key more than once
	for _, node := range d.primaries(ctx) {
		for cursor := uint64(0); ; {
			scan := node.B().Scan().Cursor(cursor).Match(pattern).Count(scanCount).Type("string").Build().Pin()
			part, err := node.Do(ctx, scan).AsScanEntry()
			if err != nil {
				return nil, d.classify(ctx, err)
			}
			for _, key := range part.Elements {
				seen[key] = struct{}{}
			}
			if cursor = part.Cursor; cursor == 0 {
				break
			}
		}
	}
	keys := make([]string, 0, len(seen))
	for key := range seen {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys, nil
}

// primaries returns a client for each node to scan. Replicas of a cluster have the same keys, or lag.
func (d *Driver) primaries(ctx context.Context) []rueidis.Client {
	if d.client.Mode() != rueidis.ClientModeCluster {
		return []rueidis.Client{d.client}
	}
	var primaries []rueidis.Client
	for _, node := range d.client.Nodes() {
		role, err := node.Do(ctx, node.B().Role().Build().Pin()).ToArray()
		if err != nil || len(role) == 0 {
			primaries = append(primaries, node) // the scan will return the error
			continue
		}
		if name, _ := role[0].ToString(); name == "master" {
			primaries = append(primaries, node)
		}
	}
	return primaries
}

// literal returns the pattern that matches only s.
func literal(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s)
}
