package kvtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
)

func watching() []promise {
	return []promise{
		{Name: "watch/key", Needs: driver.Watch, Check: watchKey},
		{Name: "watch/prefix", Needs: driver.Watch, Check: watchPrefix},
		{Name: "watch/current", Needs: driver.Watch, Check: watchCurrent},
		{Name: "watch/in order, none lost, none doubled", Needs: driver.Watch | driver.ExactEvents, Check: watchExact},
		{Name: "watch/joins without a gap", Needs: driver.Watch, RealClock: true, Check: watchJoins},
		{Name: "watch/expiry", Needs: driver.Watch | driver.Expiry, Together: true, Check: watchExpiry},
		{Name: "watch/contradictions", Needs: driver.Watch, Check: watchContradictions},
		{Name: "watch/ends with its context", Needs: driver.Watch, Check: watchEnds},
		{Name: "watch/is told of a lost loop", Needs: driver.Watch, Check: watchBreak},
	}
}

// watched is one event, or the end of the loop.
type watched struct {
	kv.Event
	err   error
	ended bool
}

// watch is a loop in its own goroutine.
type watch struct {
	*rig
	events chan watched
	stop   context.CancelFunc
}

// follow runs a loop over events until the test ends.
func (r *rig) follow(events func(context.Context) iter.Seq2[kv.Event, error]) *watch {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	w := &watch{rig: r, events: make(chan watched, 4096), stop: cancel}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ev, err := range events(ctx) {
			w.events <- watched{Event: ev, err: err}
		}
		w.events <- watched{ended: true}
	}()
	r.Cleanup(func() { cancel(); <-done })
	return w
}

func (r *rig) watchPrefix(prefix string, opts ...kv.WatchOption) *watch {
	return r.follow(func(ctx context.Context) iter.Seq2[kv.Event, error] { return r.store.WatchPrefix(ctx, prefix, opts...) })
}

func (r *rig) watchKey(key string, opts ...kv.WatchOption) *watch {
	return r.follow(func(ctx context.Context) iter.Seq2[kv.Event, error] { return r.store.Watch(ctx, key, opts...) })
}

// next waits for the next event, or for the end of the loop.
func (w *watch) next() watched {
	w.Helper()
	timer := time.NewTimer(w.patience)
	defer timer.Stop()
	select {
	case ev := <-w.events:
		return ev
	case <-timer.C:
		w.Fatalf("nothing came of the watch within %s", w.patience)
		return watched{}
	}
}

// expect fails the test unless the next events are "put key value", "delete key", "resync" or "synced", as given. It returns the last
// one.
func (w *watch) expect(want ...string) (last watched) {
	w.Helper()
	for _, one := range want {
		last = w.next()
		if got := last.String(); got != one {
			w.Fatalf("the watch says %q, want %q", got, one)
		}
	}
	return last
}

// String returns the notation that tests use for an event.
func (e watched) String() string {
	switch {
	case e.ended:
		return "ended"
	case e.err != nil:
		return "error " + e.err.Error()
	case e.Kind == kv.EventPut:
		return fmt.Sprintf("put %s %s", e.Item.Key, e.Item.Value)
	case e.Kind == kv.EventDelete:
		return "delete " + e.Item.Key
	default:
		return e.Kind.String()
	}
}

// quiet fails the test if an event arrives within a short time.
func (w *watch) quiet() {
	w.Helper()
	timer := time.NewTimer(100 * time.Millisecond)
	defer timer.Stop()
	select {
	case ev := <-w.events:
		w.Errorf("the watch says %q, want nothing", ev)
	case <-timer.C:
	}
}

func (r *rig) delete(key string) {
	r.Helper()
	if err := r.store.Delete(r.context(), key); err != nil {
		r.Fatalf("Delete(%q): %v", key, err)
	}
}

func watchKey(r *rig) {
	r.put("k", "before")
	w := r.watchKey("k")
	w.expect("synced")
	r.put("kk", "neighbour")
	r.put("k/", "neighbour")
	v := r.put("k", "1")
	if ev := w.expect("put k 1"); ev.Item.Version != v {
		r.Errorf("the event has version %d, Put said %d", ev.Item.Version, v)
	}
	r.delete("k")
	w.expect("delete k")
	r.put("k", "2")
	w.expect("put k 2")
	w.quiet()
}

func watchPrefix(r *rig) {
	r.put("p/0", "before")
	inside, all := r.watchPrefix("p/"), r.watchPrefix("")
	inside.expect("synced")
	all.expect("synced")
	r.put("p", "outside")
	all.expect("put p outside")
	r.put("p/1", "x")
	all.expect("put p/1 x")
	inside.expect("put p/1 x")
	r.put("q", "outside")
	all.expect("put q outside")
	r.delete("p/1")
	all.expect("delete p/1")
	inside.expect("delete p/1")
	r.delete("p/never")
	inside.quiet()
	all.quiet()
}

func watchCurrent(r *rig) {
	empty := r.watchPrefix("", kv.Current())
	empty.expect("resync", "synced")
	for i := range 2*pageSize + 1 {
		r.put(fmt.Sprintf("c/%d", i), "x")
	}
	r.put("d", "outside")
	r.delete("c/0")
	prefix, key, missing := r.watchPrefix("c/", kv.Current()), r.watchKey("c/3", kv.Current()), r.watchKey("c/0", kv.Current())
	prefix.expect("resync")
	for i := 1; i <= 2*pageSize; i++ {
		prefix.expect(fmt.Sprintf("put c/%d x", i))
	}
	prefix.expect("synced")
	key.expect("resync", "put c/3 x", "synced")
	missing.expect("resync", "synced")
	r.put("c/3", "y")
	prefix.expect("put c/3 y")
	key.expect("put c/3 y")
	prefix.quiet()
	missing.quiet()
}

// watchExact compares all events of a watch with all changes.
func watchExact(r *rig) {
	w := r.watchPrefix("e/")
	w.expect("synced")
	var want []string
	for i := range 300 {
		key := fmt.Sprintf("e/%d", i*i%7)
		if i%5 == 4 {
			if _, err := r.store.Get(r.context(), key); err == nil {
				want = append(want, "delete "+key)
			}
			r.delete(key)
			continue
		}
		value := fmt.Sprint(i)
		r.put(key, value)
		want = append(want, "put "+key+" "+value)
	}
	w.expect(want...)
	w.quiet()
}

// watchJoins opens watches with Current while items are written once each. The snapshot and the later events together must show every
// item, and none twice.
func watchJoins(r *rig) {
	const watches, each = 5, 100
	var open []*watch
	for n := range watches * each {
		if n%each == 0 {
			open = append(open, r.watchPrefix("j/", kv.Current()))
		}
		if n%10 == 0 {
			r.pass(time.Millisecond) // lets the watch start between any two writes
		}
		r.put(fmt.Sprintf("j/%03d", n), "x")
	}
	for _, w := range open {
		seen := map[string]int{}
		for len(seen) < watches*each {
			ev := w.next()
			switch {
			case ev.Kind == kv.EventPut:
				seen[ev.Item.Key]++
			case ev.err != nil || ev.ended:
				r.Fatalf("the watch says %q", ev)
			}
		}
		for key, times := range seen {
			if times != 1 {
				r.Errorf("%q is shown %d times", key, times)
			}
		}
	}
}

func watchExpiry(r *rig) {
	w := r.watchPrefix("")
	w.expect("synced")
	ttl := r.short()
	sent := time.Now()
	r.put("x", "1", kv.TTL(ttl))
	until := r.deadline(ttl)
	w.expect("put x 1", "delete x")
	if now := time.Now(); now.Before(sent.Add(ttl)) || now.After(until.Add(r.slack())) {
		r.Errorf("the end of an item of %s is told after %s", ttl, now.Sub(sent))
	}
	w.quiet()
}

func watchContradictions(r *rig) {
	for name, opts := range map[string][]kv.WatchOption{
		"From and Current": {kv.From(1), kv.Current()},
		"Current and From": {kv.Current(), kv.From(1)},
		"two places":       {kv.From(1), kv.From(2)},
		"no place":         {kv.From(0)},
	} {
		ended := r.watchPrefix("p", opts...).next()
		r.is(ended.err, kv.ErrInvalid, "Watch with %s", name)
	}
	r.is(r.watchKey("").next().err, kv.ErrInvalid, "Watch of no key")
	r.is(r.watchPrefix("\xff").next().err, kv.ErrInvalid, "Watch of a prefix that is not UTF-8")
}

func watchEnds(r *rig) {
	w := r.watchPrefix("")
	w.expect("synced")
	asked := time.Now()
	w.stop()
	w.expect("ended")
	if took := time.Since(asked); took > time.Second {
		r.Errorf("the watch ended %s after its context", took)
	}
}

// watchBreak leaves a loop at its first event. This must end the driver's watch.
func watchBreak(r *rig) {
	left := errors.New("left")
	watcher, ok := r.driver.(driver.Watcher)
	if !ok {
		r.Fatal("the driver declares Watch, but is no Watcher")
	}
	asked := time.Now()
	err := watcher.Watch(r.context(), driver.WatchRequest{}, func(driver.Event) error { return left })
	if !errors.Is(err, left) || time.Since(asked) > time.Second {
		r.Errorf("a watch whose emit fails returns %v after %s", err, time.Since(asked))
	}
	for range r.store.WatchPrefix(r.context(), "", kv.Current()) {
		break
	}
}
