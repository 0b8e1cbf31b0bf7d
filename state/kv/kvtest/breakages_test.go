package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-os/go-os/state/kv/driver"
)

// breakage is a driver that breaks a promise.
type breakage struct {
	spoil   func(*broken)
	noticed string // the promises that must fail, separated by commas
}

// breakages returns all breakages by description.
func breakages() map[string]breakage {
	all := map[string]breakage{}
	for _, part := range []map[string]breakage{
		brokenValues(), brokenConditions(), brokenTimes(), brokenLists(), brokenWatches(), brokenJoins(), brokenResumes(), brokenReads(), brokenMirrors(), brokenRest(),
	} {
		maps.Copy(all, part)
	}
	return all
}

func brokenValues() map[string]breakage {
	return map[string]breakage{
		"invents a value": {func(b *broken) {
			b.get = func(ctx context.Context, key string) (driver.Item, error) {
				it, err := b.Driver.Get(ctx, key)
				if err != nil {
					return driver.Item{Key: key, Value: []byte{}, Version: 1}, nil
				}
				return it, nil
			}
		}, "values/missing"},
		"cuts a value at a zero": {func(b *broken) {
			b.put = func(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
				req.Value, _, _ = bytes.Cut(req.Value, []byte{0})
				return b.Driver.Put(ctx, req)
			}
		}, "values/round trip"},
		"hands out the same slice": {func(b *broken) {
			kept := map[string]driver.Item{}
			b.get = func(ctx context.Context, key string) (driver.Item, error) {
				it, err := b.Driver.Get(ctx, key)
				if old, ok := kept[key]; ok && old.Version == it.Version {
					return old, err
				}
				kept[key] = it
				return it, err
			}
		}, "values/belong to the caller"},
		"gives a version twice": {func(b *broken) {
			b.put = func(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
				_, err := b.Driver.Put(ctx, req)
				return 7, err
			}
		}, "values/versions"},
		"deletes what begins with the key": {func(b *broken) {
			b.delete = func(ctx context.Context, req driver.DeleteRequest) error {
				page, err := b.Driver.List(ctx, driver.ListRequest{Prefix: req.Key, Limit: 100})
				for _, it := range page.Items {
					err = errors.Join(err, b.Driver.Delete(ctx, driver.DeleteRequest{Key: it.Key}))
				}
				return err
			}
		}, "values/delete"},
		"mixes keys up": {func(b *broken) {
			b.get = func(ctx context.Context, key string) (driver.Item, error) {
				it, err := b.Driver.Get(ctx, strings.ToLower(key))
				it.Key = key
				return it, err
			}
		}, "keys/round trip"},
		"says the same twice": {func(b *broken) {
			b.get = func(ctx context.Context, key string) (driver.Item, error) {
				it, err := b.Driver.Get(ctx, key)
				if err != nil {
					err = fmt.Errorf("%w: %w", err, err)
				}
				return it, err
			}
		}, "values/missing"},
		"has no class for its errors": {func(b *broken) {
			b.get = func(ctx context.Context, key string) (driver.Item, error) {
				it, err := b.Driver.Get(ctx, key)
				if errors.Is(err, driver.ErrNotFound) {
					err = fmt.Errorf("no such key: %s", key)
				}
				return it, err
			}
		}, "values/missing, telemetry/spans and durations"},
	}
}

func brokenConditions() map[string]breakage {
	return map[string]breakage{
		"ignores IfAbsent": {func(b *broken) {
			b.put = func(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
				req.IfAbsent = false
				return b.Driver.Put(ctx, req)
			}
		}, "cas/if absent"},
		"ignores IfVersion": {func(b *broken) {
			b.put = func(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
				req.IfVersion = 0
				return b.Driver.Put(ctx, req)
			}
		}, "cas/if version"},
		"ignores IfVersion of Delete": {func(b *broken) {
			b.delete = func(ctx context.Context, req driver.DeleteRequest) error {
				return b.Driver.Delete(ctx, driver.DeleteRequest{Key: req.Key})
			}
		}, "cas/delete"},
		"compares, then sets": {func(b *broken) {
			b.put = func(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
				if it, err := b.Driver.Get(ctx, req.Key); req.IfVersion != 0 && (err != nil || it.Version != req.IfVersion) {
					return 0, driver.ErrConflict
				}
				runtime.Gosched()
				req.IfVersion = 0
				return b.Driver.Put(ctx, req)
			}
		}, "cas/no update is lost"},
		"reads what was": {func(b *broken) {
			var mu sync.Mutex
			seen := map[string]driver.Item{}
			reads := 0
			b.get = func(ctx context.Context, key string) (driver.Item, error) {
				it, err := b.Driver.Get(ctx, key)
				mu.Lock()
				defer mu.Unlock()
				old, ok := seen[key]
				if reads++; ok && reads%10 == 0 {
					return old, nil
				}
				if err == nil {
					seen[key] = it
				}
				return it, err
			}
		}, "cas/histories are linearizable"},
	}
}

// lagging is memkv whose Get returns a key's previous value for a number of reads, as a lagging replica would.
func lagging(b *broken, reads int) {
	var mu sync.Mutex
	before, left := map[string]driver.Item{}, map[string]int{}
	change := func(ctx context.Context, key string) {
		mu.Lock()
		defer mu.Unlock()
		before[key], _ = b.Driver.Get(ctx, key)
		left[key] = reads
	}
	b.put = func(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
		change(ctx, req.Key)
		return b.Driver.Put(ctx, req)
	}
	b.delete = func(ctx context.Context, req driver.DeleteRequest) error {
		change(ctx, req.Key)
		return b.Driver.Delete(ctx, req)
	}
	b.get = func(ctx context.Context, key string) (driver.Item, error) {
		mu.Lock()
		defer mu.Unlock()
		if left[key]--; left[key] >= 0 && before[key].Version != 0 {
			return before[key], nil
		}
		return b.Driver.Get(ctx, key)
	}
}

func brokenReads() map[string]breakage {
	return map[string]breakage{
		"reads from a replica that lags": {func(b *broken) {
			lagging(b, 1)
		}, "fresh/a read after an event is not older, fresh/a read after synced misses nothing, fresh/a near cache follows, " +
			"fresh/what another client wrote is read"},
		"lists from a replica that lags": {func(b *broken) {
			b.list = func(context.Context, driver.ListRequest) (driver.Page, error) { return driver.Page{}, nil }
		}, "fresh/a read after an event is not older, fresh/what another client wrote is read"},
		"begins a watch with what a replica has": {func(b *broken) {
			b.watch = filtered(b, func(ev driver.Event) []driver.Event {
				if ev.Kind == driver.EventPut && ev.Position == 0 {
					return nil
				}
				return []driver.Event{ev}
			})
		}, "fresh/what another client wrote is read"},
	}
}

func brokenTimes() map[string]breakage {
	return map[string]breakage{
		"ignores a TTL": {func(b *broken) {
			b.put = func(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
				req.TTL = 0
				return b.Driver.Put(ctx, req)
			}
		}, "ttl/in time"},
		"rounds a TTL down": {func(b *broken) {
			b.put = func(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
				req.TTL -= req.TTL / 10
				return b.Driver.Put(ctx, req)
			}
		}, "ttl/in time"},
		"keeps the TTL of the write before": {func(b *broken) {
			ttls := map[string]time.Duration{}
			b.put = func(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
				if req.TTL == 0 {
					req.TTL = ttls[req.Key]
				}
				ttls[req.Key] = req.TTL
				return b.Driver.Put(ctx, req)
			}
		}, "ttl/a new write counts anew"},
	}
}

func brokenLists() map[string]breakage {
	return map[string]breakage{
		"lists without order": {func(b *broken) {
			b.list = func(ctx context.Context, req driver.ListRequest) (driver.Page, error) {
				page, err := b.Driver.List(ctx, req)
				slices.Reverse(page.Items)
				return page, err
			}
		}, "list/order and prefix"},
		"lists one page": {func(b *broken) {
			b.list = func(ctx context.Context, req driver.ListRequest) (driver.Page, error) {
				page, err := b.Driver.List(ctx, req)
				page.Next = nil
				return page, err
			}
		}, "list/items are whole"},
		"lists by offset": {func(b *broken) {
			b.list = func(ctx context.Context, req driver.ListRequest) (driver.Page, error) {
				offset, _ := req.Next.(int)
				page, err := b.Driver.List(ctx, driver.ListRequest{Prefix: req.Prefix, Limit: 1 << 20})
				page.Items = page.Items[min(offset, len(page.Items)):]
				if page.Next = nil; len(page.Items) > req.Limit {
					page.Items, page.Next = page.Items[:req.Limit], offset+req.Limit
				}
				return page, err
			}
		}, "list/under writes"},
		"lists several moments": {func(b *broken) {
			b.list = func(ctx context.Context, req driver.ListRequest) (driver.Page, error) {
				after, _ := req.Next.(string)
				page, err := b.Driver.List(ctx, driver.ListRequest{Prefix: req.Prefix, Limit: 1 << 20})
				page.Items = slices.DeleteFunc(page.Items, func(it driver.Item) bool { return it.Key <= after })
				if page.Next = nil; len(page.Items) > req.Limit {
					page.Items = page.Items[:req.Limit]
					page.Next = page.Items[req.Limit-1].Key
				}
				return page, err
			}
		}, "list/one moment"},
	}
}

func brokenWatches() map[string]breakage {
	return map[string]breakage{
		"shows the neighbours of a key": {func(b *broken) {
			b.watch = func(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
				req.Prefix, req.Key = req.Key, ""
				return b.Driver.Watch(ctx, req, emit)
			}
		}, "watch/key"},
		"loses deletes": {func(b *broken) {
			b.watch = filtered(b, func(ev driver.Event) []driver.Event {
				if ev.Kind == driver.EventDelete {
					return nil
				}
				return []driver.Event{ev}
			})
		}, "watch/prefix"},
		"begins without what is there": {func(b *broken) {
			b.watch = func(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
				if !req.Snapshot {
					return b.Driver.Watch(ctx, req, emit)
				}
				if err := emit(driver.Event{Kind: driver.EventResync}); err != nil {
					return err
				}
				return b.Driver.Watch(ctx, driver.WatchRequest{Key: req.Key, Prefix: req.Prefix}, emit)
			}
		}, "watch/current"},
		"doubles one event in a hundred": {func(b *broken) {
			n := 0
			b.watch = filtered(b, func(ev driver.Event) []driver.Event {
				if n++; n%100 == 0 {
					return []driver.Event{ev, ev}
				}
				return []driver.Event{ev}
			})
		}, "watch/in order, none lost, none doubled"},
	}
}

func brokenJoins() map[string]breakage {
	return map[string]breakage{
		"leaves a gap behind what is there": {func(b *broken) {
			b.watch = func(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
				if !req.Snapshot {
					return b.Driver.Watch(ctx, req, emit)
				}
				done := errors.New("shown")
				err := b.Driver.Watch(ctx, req, func(ev driver.Event) error {
					if ev.Kind == driver.EventSynced {
						return done
					}
					return emit(ev)
				})
				if !errors.Is(err, done) {
					return err
				}
				<-time.After(5 * time.Millisecond) // writes in this time go unseen
				return b.Driver.Watch(ctx, driver.WatchRequest{Key: req.Key, Prefix: req.Prefix}, emit)
			}
		}, "watch/joins without a gap"},
		"says nothing of expiry": {func(b *broken) {
			gone := map[string]bool{}
			b.delete = func(ctx context.Context, req driver.DeleteRequest) error {
				gone[req.Key] = true
				return b.Driver.Delete(ctx, req)
			}
			b.watch = filtered(b, func(ev driver.Event) []driver.Event {
				if ev.Kind == driver.EventDelete && !gone[ev.Item.Key] {
					return nil
				}
				return []driver.Event{ev}
			})
		}, "watch/expiry"},
		"watches on after its context": {func(b *broken) {
			b.watch = func(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
				err := b.Driver.Watch(ctx, req, emit)
				<-time.After(2 * time.Second)
				return err
			}
		}, "watch/ends with its context"},
		"watches on after its loop": {func(b *broken) {
			b.watch = func(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
				return b.Driver.Watch(ctx, req, func(ev driver.Event) error { _ = emit(ev); return nil })
			}
		}, "watch/is told of a lost loop"},
	}
}

func brokenResumes() map[string]breakage {
	return map[string]breakage{
		"begins at the next event but one": {func(b *broken) {
			b.watch = func(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
				skip := req.From != 0
				return b.Driver.Watch(ctx, req, func(ev driver.Event) error {
					if skip && ev.Kind == driver.EventPut {
						skip = false
						return nil
					}
					return emit(ev)
				})
			}
		}, "resume/from a position, resume/from an item"},
		"goes on after a gap": {func(b *broken) {
			b.watch = func(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
				err := b.Driver.Watch(ctx, req, emit)
				if errors.Is(err, driver.ErrCompacted) {
					req.From = 0
					return b.Driver.Watch(ctx, req, emit)
				}
				return err
			}
		}, "resume/what was compacted, resume/a place that never was"},
	}
}

func brokenRest() map[string]breakage {
	return map[string]breakage{
		"returns a batch in another order": {func(b *broken) {
			b.many = func(ctx context.Context, keys []string) ([]driver.Result, error) {
				results, err := b.Driver.GetMany(ctx, keys)
				slices.Reverse(results)
				return results, err
			}
		}, "batch/write and read"},
		"does not keep a lease alive": {func(b *broken) {
			b.renew = func(context.Context, driver.LeaseID) error { return nil }
		}, "lease/items end with it, lease/is kept alive"},
		"does not revoke": {func(b *broken) {
			b.revoke = func(context.Context, driver.LeaseID) error { return nil }
		}, "lease/revoked"},
		"hides an ability": {func(b *broken) {
			b.caps = func(c driver.Capabilities) driver.Capabilities { c.Abilities &^= driver.List; return c }
		}, "abilities/declared and implemented"},
		"claims to last": {func(b *broken) {
			b.caps = func(c driver.Capabilities) driver.Capabilities { c.Abilities |= driver.Durable; return c }
		}, "abilities/declared and implemented"},
		"has no name": {func(b *broken) {
			b.caps = func(c driver.Capabilities) driver.Capabilities { c.System = ""; return c }
		}, "telemetry/spans and durations"},
		"cannot be closed": {func(b *broken) {
			b.close = func() error { return errors.New("still busy") }
		}, "lifecycle/closed"},
		"is not there": {func(b *broken) {
			b.get = func(context.Context, string) (driver.Item, error) { return driver.Item{}, driver.ErrUnavailable }
		}, "lifecycle/ping"},
	}
}

func brokenMirrors() map[string]breakage {
	return map[string]breakage{
		"ends a snapshot before its items": {func(b *broken) {
			b.watch = filtered(b, func(ev driver.Event) []driver.Event {
				switch ev.Kind {
				case driver.EventResync:
					return []driver.Event{ev, {Kind: driver.EventSynced, Position: ev.Position}}
				case driver.EventSynced:
					return nil
				default:
					return []driver.Event{ev}
				}
			})
		}, "mirror/starts over without a moment of emptiness"},
		"keeps deletions to itself": {func(b *broken) {
			b.watch = filtered(b, func(ev driver.Event) []driver.Event {
				if ev.Kind == driver.EventDelete {
					return nil
				}
				return []driver.Event{ev}
			})
		}, "mirror/fills and follows"},
		"shows each key once": {func(b *broken) {
			shown := map[string]bool{}
			b.watch = filtered(b, func(ev driver.Event) []driver.Event {
				if ev.Kind == driver.EventPut && shown[ev.Item.Key] {
					return nil
				}
				shown[ev.Item.Key] = true
				return []driver.Event{ev}
			})
		}, "mirror/what does not decode harms no other"},
		"writes whatever the version": {func(b *broken) {
			b.put = func(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
				req.IfAbsent, req.IfVersion = false, 0
				return b.Driver.Put(ctx, req)
			}
		}, "update/no change is lost"},
		"deletes nothing under a condition": {func(b *broken) {
			b.delete = func(ctx context.Context, req driver.DeleteRequest) error {
				if req.IfVersion != 0 {
					return nil
				}
				return b.Driver.Delete(ctx, req)
			}
		}, "update/skipped and deleted"},
	}
}
