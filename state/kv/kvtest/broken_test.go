package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/go-os/go-os/state/kv/boltkv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/memkv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broken is memkv with one promise broken: whatever field is set takes the place of the method.
type broken struct {
	*memkv.Store
	caps   func(driver.Capabilities) driver.Capabilities
	get    func(context.Context, string) (driver.Item, error)
	put    func(context.Context, driver.PutRequest) (driver.Version, error)
	delete func(context.Context, driver.DeleteRequest) error
	list   func(context.Context, driver.ListRequest) (driver.Page, error)
	watch  func(context.Context, driver.WatchRequest, func(driver.Event) error) error
	renew  func(context.Context, driver.LeaseID) error
	revoke func(context.Context, driver.LeaseID) error
	many   func(context.Context, []string) ([]driver.Result, error)
	close  func() error
}

func (b *broken) Capabilities() driver.Capabilities {
	if b.caps != nil {
		return b.caps(b.Store.Capabilities())
	}
	return b.Store.Capabilities()
}

func (b *broken) Get(ctx context.Context, key string) (driver.Item, error) {
	if b.get != nil {
		return b.get(ctx, key)
	}
	return b.Store.Get(ctx, key)
}

func (b *broken) Put(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
	if b.put != nil {
		return b.put(ctx, req)
	}
	return b.Store.Put(ctx, req)
}

func (b *broken) Delete(ctx context.Context, req driver.DeleteRequest) error {
	if b.delete != nil {
		return b.delete(ctx, req)
	}
	return b.Store.Delete(ctx, req)
}

func (b *broken) List(ctx context.Context, req driver.ListRequest) (driver.Page, error) {
	if b.list != nil {
		return b.list(ctx, req)
	}
	return b.Store.List(ctx, req)
}

func (b *broken) Watch(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
	if b.watch != nil {
		return b.watch(ctx, req, emit)
	}
	return b.Store.Watch(ctx, req, emit)
}

func (b *broken) KeepAlive(ctx context.Context, id driver.LeaseID) error {
	if b.renew != nil {
		return b.renew(ctx, id)
	}
	return b.Store.KeepAlive(ctx, id)
}

func (b *broken) Revoke(ctx context.Context, id driver.LeaseID) error {
	if b.revoke != nil {
		return b.revoke(ctx, id)
	}
	return b.Store.Revoke(ctx, id)
}

func (b *broken) GetMany(ctx context.Context, keys []string) ([]driver.Result, error) {
	if b.many != nil {
		return b.many(ctx, keys)
	}
	return b.Store.GetMany(ctx, keys)
}

func (b *broken) Close() error {
	if b.close != nil {
		return errors.Join(b.Store.Close(), b.close())
	}
	return b.Store.Close()
}

// filtered is a watch whose events pass through a filter, which returns what to emit instead.
func filtered(b *broken, filter func(driver.Event) []driver.Event) func(context.Context, driver.WatchRequest, func(driver.Event) error) error {
	return func(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
		return b.Store.Watch(ctx, req, func(ev driver.Event) error {
			for _, ev := range filter(ev) {
				if err := emit(ev); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// breakages are drivers that break a promise, with the names of the promises that must notice.
func breakages() map[string]struct {
	spoil   func(*broken)
	noticed string
} {
	type breakage = struct {
		spoil   func(*broken)
		noticed string
	}
	return map[string]breakage{
		"invents a value": {func(b *broken) {
			b.get = func(ctx context.Context, key string) (driver.Item, error) {
				it, err := b.Store.Get(ctx, key)
				if err != nil {
					return driver.Item{Key: key, Value: []byte{}, Version: 1}, nil
				}
				return it, nil
			}
		}, "values/missing"},
		"cuts a value at a zero": {func(b *broken) {
			b.put = func(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
				req.Value, _, _ = bytes.Cut(req.Value, []byte{0})
				return b.Store.Put(ctx, req)
			}
		}, "values/round trip"},
		"hands out the same slice": {func(b *broken) {
			kept := map[string]driver.Item{}
			b.get = func(ctx context.Context, key string) (driver.Item, error) {
				it, err := b.Store.Get(ctx, key)
				if old, ok := kept[key]; ok && old.Version == it.Version {
					return old, err
				}
				kept[key] = it
				return it, err
			}
		}, "values/belong to the caller"},
		"gives a version twice": {func(b *broken) {
			b.put = func(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
				_, err := b.Store.Put(ctx, req)
				return 7, err
			}
		}, "values/versions"},
		"deletes what begins with the key": {func(b *broken) {
			b.delete = func(ctx context.Context, req driver.DeleteRequest) error {
				page, err := b.Store.List(ctx, driver.ListRequest{Prefix: req.Key, Limit: 100})
				for _, it := range page.Items {
					err = errors.Join(err, b.Store.Delete(ctx, driver.DeleteRequest{Key: it.Key}))
				}
				return err
			}
		}, "values/delete"},
		"mixes keys up": {func(b *broken) {
			b.get = func(ctx context.Context, key string) (driver.Item, error) {
				it, err := b.Store.Get(ctx, strings.ToLower(key))
				it.Key = key
				return it, err
			}
		}, "keys/round trip"},
		"ignores IfAbsent": {func(b *broken) {
			b.put = func(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
				req.IfAbsent = false
				return b.Store.Put(ctx, req)
			}
		}, "cas/if absent"},
		"ignores IfVersion": {func(b *broken) {
			b.put = func(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
				req.IfVersion = 0
				return b.Store.Put(ctx, req)
			}
		}, "cas/if version"},
		"ignores IfVersion of Delete": {func(b *broken) {
			b.delete = func(ctx context.Context, req driver.DeleteRequest) error {
				return b.Store.Delete(ctx, driver.DeleteRequest{Key: req.Key})
			}
		}, "cas/delete"},
		"compares, then sets": {func(b *broken) {
			b.put = func(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
				if it, err := b.Store.Get(ctx, req.Key); req.IfVersion != 0 && (err != nil || it.Version != req.IfVersion) {
					return 0, driver.ErrConflict
				}
				runtime.Gosched()
				req.IfVersion = 0
				return b.Store.Put(ctx, req)
			}
		}, "cas/no update is lost"},
		"reads what was": {func(b *broken) {
			var mu sync.Mutex
			seen := map[string]driver.Item{}
			reads := 0
			b.get = func(ctx context.Context, key string) (driver.Item, error) {
				it, err := b.Store.Get(ctx, key)
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
		"ignores a TTL": {func(b *broken) {
			b.put = func(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
				req.TTL = 0
				return b.Store.Put(ctx, req)
			}
		}, "ttl/in time"},
		"rounds a TTL down": {func(b *broken) {
			b.put = func(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
				req.TTL -= req.TTL / 10
				return b.Store.Put(ctx, req)
			}
		}, "ttl/in time"},
		"keeps the TTL of the write before": {func(b *broken) {
			ttls := map[string]time.Duration{}
			b.put = func(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
				if req.TTL == 0 {
					req.TTL = ttls[req.Key]
				}
				ttls[req.Key] = req.TTL
				return b.Store.Put(ctx, req)
			}
		}, "ttl/a new write counts anew"},
		"lists without order": {func(b *broken) {
			b.list = func(ctx context.Context, req driver.ListRequest) (driver.Page, error) {
				page, err := b.Store.List(ctx, req)
				slices.Reverse(page.Items)
				return page, err
			}
		}, "list/order and prefix"},
		"lists one page": {func(b *broken) {
			b.list = func(ctx context.Context, req driver.ListRequest) (driver.Page, error) {
				page, err := b.Store.List(ctx, req)
				page.Next = nil
				return page, err
			}
		}, "list/items are whole"},
		"lists by offset": {func(b *broken) {
			b.list = func(ctx context.Context, req driver.ListRequest) (driver.Page, error) {
				offset, _ := req.Next.(int)
				page, err := b.Store.List(ctx, driver.ListRequest{Prefix: req.Prefix, Limit: 1 << 20})
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
				page, err := b.Store.List(ctx, driver.ListRequest{Prefix: req.Prefix, Limit: 1 << 20})
				page.Items = slices.DeleteFunc(page.Items, func(it driver.Item) bool { return it.Key <= after })
				if page.Next = nil; len(page.Items) > req.Limit {
					page.Items = page.Items[:req.Limit]
					page.Next = page.Items[req.Limit-1].Key
				}
				return page, err
			}
		}, "list/one moment"},
		"shows the neighbours of a key": {func(b *broken) {
			b.watch = func(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
				req.Prefix, req.Key = req.Key, ""
				return b.Store.Watch(ctx, req, emit)
			}
		}, "watch/key"},
		"loses deletes": {func(b *broken) {
			b.watch = filtered(b, func(ev driver.Event) []driver.Event {
				if ev.Kind == driver.Delete {
					return nil
				}
				return []driver.Event{ev}
			})
		}, "watch/prefix"},
		"begins without what is there": {func(b *broken) {
			b.watch = func(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
				if !req.Snapshot {
					return b.Store.Watch(ctx, req, emit)
				}
				if err := emit(driver.Event{Kind: driver.Resync}); err != nil {
					return err
				}
				return b.Store.Watch(ctx, driver.WatchRequest{Key: req.Key, Prefix: req.Prefix}, emit)
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
		"leaves a gap behind what is there": {func(b *broken) {
			b.watch = func(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
				if !req.Snapshot {
					return b.Store.Watch(ctx, req, emit)
				}
				done := errors.New("shown")
				err := b.Store.Watch(ctx, req, func(ev driver.Event) error {
					if ev.Kind == driver.Synced {
						return done
					}
					return emit(ev)
				})
				if !errors.Is(err, done) {
					return err
				}
				<-time.After(5 * time.Millisecond) // in which writes go unseen
				return b.Store.Watch(ctx, driver.WatchRequest{Key: req.Key, Prefix: req.Prefix}, emit)
			}
		}, "watch/joins without a gap"},
		"says nothing of expiry": {func(b *broken) {
			gone := map[string]bool{}
			b.delete = func(ctx context.Context, req driver.DeleteRequest) error {
				gone[req.Key] = true
				return b.Store.Delete(ctx, req)
			}
			b.watch = filtered(b, func(ev driver.Event) []driver.Event {
				if ev.Kind == driver.Delete && !gone[ev.Item.Key] {
					return nil
				}
				return []driver.Event{ev}
			})
		}, "watch/expiry"},
		"watches on after its context": {func(b *broken) {
			b.watch = func(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
				err := b.Store.Watch(ctx, req, emit)
				<-time.After(2 * time.Second)
				return err
			}
		}, "watch/ends with its context"},
		"watches on after its loop": {func(b *broken) {
			b.watch = func(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
				return b.Store.Watch(ctx, req, func(ev driver.Event) error { _ = emit(ev); return nil })
			}
		}, "watch/is told of a lost loop"},
		"begins at the next event but one": {func(b *broken) {
			b.watch = func(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
				skip := req.From != 0
				return b.Store.Watch(ctx, req, func(ev driver.Event) error {
					if skip && ev.Kind == driver.Put {
						skip = false
						return nil
					}
					return emit(ev)
				})
			}
		}, "resume/from a position, resume/from an item"},
		"goes on after a gap": {func(b *broken) {
			b.watch = func(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
				err := b.Store.Watch(ctx, req, emit)
				if errors.Is(err, driver.ErrCompacted) {
					req.From = 0
					return b.Store.Watch(ctx, req, emit)
				}
				return err
			}
		}, "resume/what was compacted, resume/a place that never was"},
		"returns a batch in another order": {func(b *broken) {
			b.many = func(ctx context.Context, keys []string) ([]driver.Result, error) {
				results, err := b.Store.GetMany(ctx, keys)
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
		"has no class for its errors": {func(b *broken) {
			b.get = func(ctx context.Context, key string) (driver.Item, error) {
				it, err := b.Store.Get(ctx, key)
				if errors.Is(err, driver.ErrNotFound) {
					err = fmt.Errorf("no such key: %s", key)
				}
				return it, err
			}
		}, "values/missing, telemetry/spans and durations"},
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

// witness is a testing.TB that remembers a failure instead of failing.
type witness struct {
	testing.TB
	mu     sync.Mutex
	failed bool
}

func (w *witness) Fail()                     { w.mu.Lock(); defer w.mu.Unlock(); w.failed = true }
func (w *witness) Failed() bool              { w.mu.Lock(); defer w.mu.Unlock(); return w.failed }
func (w *witness) Error(...any)              { w.Fail() }
func (w *witness) Errorf(string, ...any)     { w.Fail() }
func (w *witness) Fatal(args ...any)         { w.FailNow() }
func (w *witness) Fatalf(_ string, _ ...any) { w.FailNow() }
func (w *witness) FailNow()                  { w.Fail(); runtime.Goexit() }
func (w *witness) Skipf(string, ...any)      { runtime.Goexit() }
func (w *witness) Skip(...any)               { runtime.Goexit() }

// notices reports whether the promise fails on a Backend.
func (p promise) notices(t *testing.T, b Backend) bool {
	w := &witness{}
	watched := func(t *testing.T) {
		w.TB = t
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.run(w, b)
		}()
		<-done
	}
	if p.parallel {
		t.Run("real clock", watched)
	} else {
		synctest.Test(t, watched)
	}
	return w.Failed()
}

// TestBroken shows that the suite can fail: each broken driver is caught by the promises that it breaks.
func TestBroken(t *testing.T) {
	byName := map[string]promise{}
	for _, p := range promises() {
		byName[p.name] = p
	}
	for name, c := range breakages() {
		t.Run(name, func(t *testing.T) {
			b := Backend{
				FakeClock: true,
				patience:  2 * time.Second,
				Compact:   func(_ testing.TB, s driver.Store) { s.(*broken).Compact() },
				Open: func(testing.TB) driver.Store {
					b := &broken{Store: memkv.New(nil)}
					c.spoil(b)
					return b
				},
			}
			for promised := range strings.SplitSeq(c.noticed, ", ") {
				if promised == "none lost" || promised == "none doubled" {
					continue // the rest of a name with commas
				}
				if promised == "watch/in order" {
					promised = "watch/in order, none lost, none doubled"
				}
				p, ok := byName[promised]
				if !ok {
					t.Fatalf("there is no promise %q", promised)
				}
				if !p.notices(t, b) {
					t.Errorf("a driver that %s passes %q", name, promised)
				}
			}
		})
	}
}

// TestForgetful loses what was acknowledged last, as an engine that does not sync its writes.
func TestForgetful(t *testing.T) {
	var early []byte
	b := Backend{
		Open: func(t testing.TB) driver.Store {
			s, err := boltkv.Open(filepath.Join(t.TempDir(), "kv.db"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if early, err = os.ReadFile(s.Path()); err != nil {
				t.Fatal(err)
			}
			return s
		},
		Restart: func(t testing.TB, old driver.Store) driver.Store {
			path := filepath.Join(t.TempDir(), "left.db")
			if err := errors.Join(old.Close(), os.WriteFile(path, early, 0o600)); err != nil {
				t.Fatal(err)
			}
			s, err := boltkv.Open(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	}
	for _, p := range promises() {
		if p.hook == "Restart" && !p.notices(t, b) {
			t.Errorf("a driver that loses its writes passes %q", p.name)
		}
	}
}

// TestChatty polls: the idle budget must notice. One that hangs must be noticed as well.
func TestChatty(t *testing.T) {
	b := remoteBackend()
	open := b.Open
	b.Open = func(t testing.TB) driver.Store {
		r := open(t).(*remote)
		return &broken{Store: r.Store, watch: func(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			go func() {
				for {
					select {
					case <-tick.C:
						_, _ = r.Get(ctx, "poll")
					case <-ctx.Done():
						return
					}
				}
			}()
			return r.Watch(ctx, req, emit)
		}}
	}
	for _, p := range promises() {
		if p.name == "lifecycle/idle" && !p.notices(t, b) {
			t.Error("a driver that polls passes")
		}
	}
}

// TestDeaf does not notice that its engine is gone, or hangs with it.
func TestDeaf(t *testing.T) {
	for name, spoil := range map[string]func(*remote, *broken){
		"faults/engine down":      func(*remote, *broken) {},
		"faults/watch comes back": func(*remote, *broken) {},
		"faults/engine silent": func(r *remote, b *broken) {
			b.get = func(_ context.Context, key string) (driver.Item, error) {
				ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
				defer cancel()
				return r.Get(ctx, key)
			}
		},
	} {
		b := remoteBackend()
		open := b.Open
		b.Open = func(t testing.TB) driver.Store {
			r := open(t).(*remote)
			spoiled := &broken{Store: r.Store}
			spoil(r, spoiled)
			return spoiled
		}
		for _, p := range promises() {
			if p.name == name && !p.notices(t, b) {
				t.Errorf("a driver that does not see its engine go passes %q", name)
			}
		}
	}
}
