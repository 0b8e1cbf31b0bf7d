package kvtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/near"
)

func freshness() []promise {
	return []promise{
		{Name: "fresh/a read after an event is not older", Needs: driver.Watch, Check: readAfterEvent},
		{Name: "fresh/a read after synced misses nothing", Needs: driver.Watch, Check: readAfterSynced},
		{Name: "fresh/a near cache follows", Needs: driver.Watch, RealClock: true, Check: nearFollows},
		{Name: "fresh/what another client wrote is read", Needs: driver.FreshReads, Check: readOthersWrites},
	}
}

const (
	// freshRounds is the number of changes that the freshness promises make. Not every change meets a lagging replica.
	freshRounds = 200
	// freshReaders is the number of other clients that read each change, so that several nodes of a cluster are read.
	freshReaders = 3
)

// readers returns the stores that read. Each has its own client where the Backend provides one.
func (r *rig) readers() []*kv.Store {
	if r.Beside == nil {
		return []*kv.Store{r.store}
	}
	var all []*kv.Store
	for range freshReaders {
		all = append(all, r.beside())
	}
	return all
}

// readAfterEvent changes one item at a time and waits until every reader has received the event. Each reader reads on receipt while
// nothing else is written, so it must read exactly what the event shows.
func readAfterEvent(r *rig) {
	ctx, cancel := context.WithCancel(r.Context())
	readers := r.readers()
	results := make(chan error, len(readers))
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	for _, s := range readers {
		group.Go(func() { results <- r.readEach(ctx, s, results) })
	}
	all := func(what string) {
		for range readers {
			select {
			case err := <-results:
				if err != nil {
					r.Fatalf("%s: %v", what, err)
				}
			case <-time.After(r.patience):
				r.Fatalf("%s: no event within %s", what, r.patience)
			}
		}
	}
	all("synced")
	for n := range freshRounds {
		key := fmt.Sprint("f/", n%3)
		if n%9 > 5 {
			r.delete(key)
		} else {
			r.put(key, fmt.Sprint(n))
		}
		all(fmt.Sprintf("change %d, of %q", n, key))
	}
}

// readEach reads after each event of a watch and reports the result. It returns the error that ends the watch.
func (r *rig) readEach(ctx context.Context, s *kv.Store, results chan<- error) error {
	for ev, err := range s.WatchPrefix(ctx, "f/") {
		if err == nil {
			err = r.matches(ctx, s, ev)
		}
		if err != nil {
			return err
		}
		results <- nil
	}
	return nil
}

// matches compares the results of Get and List with the event that was just received.
func (r *rig) matches(ctx context.Context, s *kv.Store, ev kv.Event) error {
	if ev.Kind != kv.EventPut && ev.Kind != kv.EventDelete {
		return nil
	}
	got, err := s.Get(ctx, ev.Item.Key)
	if err := sameAs(ev, got, err, "Get"); err != nil || !r.caps.Has(driver.List) {
		return err
	}
	got, err = kv.Item{}, kv.ErrNotFound
	for it, failed := range s.List(ctx, "f/") {
		if failed != nil {
			return failed
		}
		if it.Key == ev.Item.Key {
			got, err = it, nil
		}
	}
	return sameAs(ev, got, err, "List")
}

// sameAs returns an error unless a read returned the item of the event.
func sameAs(ev kv.Event, got kv.Item, err error, read string) error {
	switch {
	case ev.Kind == kv.EventDelete && errors.Is(err, kv.ErrNotFound):
		return nil
	case ev.Kind == kv.EventDelete && err == nil:
		return fmt.Errorf("%s shows %q = %q after the event that it is deleted", read, ev.Item.Key, got.Value)
	case err != nil:
		return fmt.Errorf("%s after the event %q = %q: %w", read, ev.Item.Key, ev.Item.Value, err)
	case !sameItem(got, ev.Item):
		return fmt.Errorf("%s shows %q = %q at %d after the event %q at %d", read, ev.Item.Key, got.Value, got.Version, ev.Item.Value, ev.Item.Version)
	default:
		return nil
	}
}

// readAfterSynced starts watches while values change. A change that a read after Synced does not show must come as an event. Otherwise a
// caller that keeps what it read would stay stale.
func readAfterSynced(r *rig) {
	readers := r.readers()
	for n := range freshRounds / 4 {
		want := fmt.Sprint(n)
		r.put("f/k", want)
		if err := learns(r.context(), readers[n%len(readers)], want); err != nil {
			r.Fatalf("a watch after write %d: %v", n, err)
		}
	}
}

// learns returns nil once a read after Synced, or a later event, has this value.
func learns(ctx context.Context, s *kv.Store, want string) error {
	read := "nothing"
	for ev, err := range s.Watch(ctx, "f/k") {
		if err == nil && ev.Kind == kv.EventSynced {
			var it kv.Item
			it, err = s.Get(ctx, "f/k")
			read, ev.Item = string(it.Value), it
		}
		if err != nil || string(ev.Item.Value) == want {
			return err
		}
	}
	return fmt.Errorf("a Get after Synced showed %q, and no event followed with %q", read, want)
}

// nearFollows reads continuously through near caches while a value changes. Each cache must finally return the last value written,
// although its items do not age.
func nearFollows(r *rig) {
	ctx, cancel := context.WithCancel(r.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	var caches []*near.Cache
	for _, s := range r.readers() {
		cache := near.New(s, &near.Options{MaxStale: time.Hour})
		caches = append(caches, cache)
		group.Go(func() { _ = cache.Run(ctx) })
		group.Go(func() {
			for ctx.Err() == nil {
				_, _ = cache.Get(ctx, "f/k")
				runtime.Gosched()
			}
		})
	}
	for n := range freshRounds {
		want := fmt.Sprint(n)
		r.put("f/k", want)
		for _, cache := range caches {
			r.shows(cache, want)
		}
	}
}

// shows waits until a near cache shows a value.
func (r *rig) shows(cache *near.Cache, want string) {
	r.Helper()
	for began := time.Now(); ; r.pass(time.Millisecond) {
		it, err := cache.Get(r.context(), "f/k")
		if err == nil && string(it.Value) == want {
			return
		}
		if time.Since(began) > r.patience {
			r.Fatalf("a near cache shows %q, error %v, %s after %q was written", it.Value, err, r.patience, want)
		}
	}
}

// readOthersWrites writes through one client and reads through others, by every kind of read. Each must return the acknowledged write.
func readOthersWrites(r *rig) {
	readers := r.readers()
	for n := range freshRounds {
		want := fmt.Sprint(n)
		version := r.put("f/k", want)
		ev := kv.Event{Kind: kv.EventPut, Item: kv.Item{Key: "f/k", Value: []byte(want), Version: version}}
		for _, s := range readers {
			if err := r.matches(r.context(), s, ev); err != nil {
				r.Fatalf("another client's read after the acknowledgement: %v", err)
			}
		}
		if n%20 == 0 && r.caps.Has(driver.Watch) {
			r.begins(readers[n/20%len(readers)], ev.Item)
		}
	}
}

// begins fails the test unless the snapshot of a watch holds the item.
func (r *rig) begins(s *kv.Store, want kv.Item) {
	r.Helper()
	var shown kv.Item
	for ev, err := range s.Watch(r.context(), want.Key, kv.Current()) {
		switch {
		case err != nil:
			r.Fatalf("Watch: %v", err)
		case ev.Kind == kv.EventPut:
			shown = ev.Item
			continue
		case ev.Kind != kv.EventSynced:
			continue
		case !sameItem(shown, want):
			r.Fatalf("a watch with Current begins with %q, and %q was acknowledged before", shown.Value, want.Value)
		}
		return
	}
}
