package consulkv

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/state/kv/driver"
)

const (
	// maxWait is Consul's limit of the wait time of a blocking query. Consul adds up to a sixteenth of the wait time.
	maxWait = 10 * time.Minute
	// answerWithin is how long a response may take after the wait time.
	answerWithin = 10 * time.Second
)

// Watch implements driver.Watcher.
func (d *Driver) Watch(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
	w := &watch{Driver: d, key: req.Key, prefix: req.Prefix, emit: emit}
	if req.Key != "" {
		w.prefix = req.Key
	}
	items, index, err := w.look(ctx, 0)
	switch {
	case err != nil:
		return err
	case req.From != 0 && uint64(req.From) != index:
		return fmt.Errorf("%w: Consul is at %d", driver.ErrCompacted, index)
	}
	if req.Snapshot {
		if err := emit(driver.Event{Kind: driver.EventResync}); err != nil {
			return err
		}
		for _, it := range items {
			if err := emit(driver.Event{Kind: driver.EventPut, Item: it}); err != nil {
				return err
			}
		}
	}
	w.known, w.last = versions(items), index
	if err := emit(driver.Event{Kind: driver.EventSynced, Position: driver.Version(index)}); err != nil {
		return err
	}
	for {
		items, now, err := w.look(ctx, index)
		if err != nil {
			return err
		}
		if index = now; now < w.last { // for example, after a restore: Consul's documentation says to start at zero
			index = 0
		}
		w.last = now
		if err := w.compare(items, driver.Version(now)); err != nil {
			return err
		}
	}
}

// watch is one watch in progress.
type watch struct {
	*Driver
	key, prefix string
	emit        func(driver.Event) error
	known       map[string]driver.Version // the versions of the last response
	last        uint64                    // the index of the last response
}

// look returns the items once their index is greater than index, or Options.Wait has passed.
func (w *watch) look(ctx context.Context, index uint64) ([]driver.Item, uint64, error) {
	asked, cancel := context.WithTimeout(ctx, w.wait+w.wait/6+answerWithin)
	defer cancel()
	items, now, err := w.tree(asked, w.prefix, &api.QueryOptions{WaitIndex: index, WaitTime: w.wait})
	if err != nil && asked.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: a blocking query was not answered in time", driver.ErrUnavailable)
	}
	if w.key != "" { // while a single key is missing, a query for it would return after every change in the store
		items = slices.DeleteFunc(items, func(it driver.Item) bool { return it.Key != w.key })
	}
	return items, max(now, 1), err
}

// compare emits the differences to the last response. A watch can resume after the last of these events.
func (w *watch) compare(items []driver.Item, at driver.Version) error {
	now := versions(items)
	var events []driver.Event
	for key := range w.known {
		if _, there := now[key]; !there {
			events = append(events, driver.Event{Kind: driver.EventDelete, Item: driver.Item{Key: key}})
		}
	}
	for _, it := range items {
		if w.known[it.Key] != it.Version {
			events = append(events, driver.Event{Kind: driver.EventPut, Item: it})
		}
	}
	slices.SortStableFunc(events, func(a, b driver.Event) int { return cmp.Compare(a.Item.Version, b.Item.Version) })
	w.known = now
	for i, ev := range events {
		if i == len(events)-1 {
			ev.Position = at
		}
		if err := w.emit(ev); err != nil {
			return err
		}
	}
	return nil
}

func versions(items []driver.Item) map[string]driver.Version {
	all := make(map[string]driver.Version, len(items))
	for _, it := range items {
		all[it.Key] = it.Version
	}
	return all
}
