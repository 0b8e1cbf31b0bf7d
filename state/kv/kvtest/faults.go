package kvtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
)

func faults() []promise {
	return []promise{
		{Name: "faults/no acknowledged write is lost", Needs: driver.Durable, Hook: "Restart", Check: durable},
		{Name: "faults/versions go on after a restart", Needs: driver.Durable, Hook: "Restart", Check: versionsAfterRestart},
		{Name: "faults/engine down", Hook: "Kill", Check: down},
		{Name: "faults/watch comes back", Needs: driver.Watch, Hook: "Kill", Check: watchComesBack},
		{Name: "faults/engine silent", Hook: "Pause", Check: silent},
	}
}

// restart kills the engine and starts it again.
func (r *rig) restart() {
	r.Helper()
	d := r.Restart(r, r.driver)
	if d != r.driver {
		r.use(d) // the old store's resources ended with its engine
	}
}

// durable compares the writes that were acknowledged before the engine was killed with those that exist afterwards.
func durable(r *rig) {
	want := map[string]string{}
	for i := range 100 {
		key := fmt.Sprintf("d/%d", i%40)
		if i%7 == 6 {
			r.delete(key)
			delete(want, key)
			continue
		}
		want[key] = fmt.Sprint(i)
		r.put(key, want[key])
	}
	r.restart()
	for i := range 40 {
		key := fmt.Sprintf("d/%d", i)
		if value, ok := want[key]; ok {
			r.holds(key, value)
		} else {
			r.absent(key)
		}
	}
	if r.caps.Has(driver.List) {
		if got := r.keys("d/"); len(got) != len(want) {
			r.Errorf("%d keys after the restart, want %d", len(got), len(want))
		}
	}
}

func versionsAfterRestart(r *rig) {
	old := r.put("k", "1")
	r.put("gone", "1")
	r.delete("gone")
	r.restart()
	if it := r.holds("k", "1"); it.Version != old {
		r.Errorf("the version is %d after a restart, and was %d", it.Version, old)
	}
	if v := r.put("gone", "2"); v == old || r.put("k", "2") == old {
		r.Errorf("version %d was given again after a restart", old)
	}
	if r.caps.Has(driver.CAS) {
		r.conflicts("k", "x", kv.IfVersion(old))
	}
	if r.caps.Has(driver.Watch) { // the position may be lost, but then the watch must resync
		w := r.watchKey("k", kv.From(old))
		for ev := w.next(); ev.Kind != kv.EventPut || string(ev.Item.Value) != "2"; ev = w.next() {
			if ev.err != nil || ev.ended {
				r.Fatalf("the watch says %q", ev)
			}
		}
	}
}

// unread is a key that no store has read before, so no store can answer from a cache.
const unread = "never read before"

// down makes calls while the engine is unreachable. Every call returns an error, and does so before its context ends if that is later
// than patience.
func down(r *rig) {
	r.put("k", "1")
	r.Kill(r)
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	_, err := r.store.Get(ctx, unread)
	r.unanswered(err, "Get")
	_, err = r.store.Put(ctx, "k2", nil)
	r.unanswered(err, "Put")
	r.unanswered(r.store.Ping(ctx), "Ping")
	r.Revive(r)
	r.eventually("the engine to answer again", func() error { return r.store.Ping(r.context()) })
	r.eventually("the item to be there", func() error {
		_, err := r.store.Get(r.context(), "k")
		if errors.Is(err, kv.ErrNotFound) && !r.caps.Has(driver.Durable) {
			return nil
		}
		return err
	})
}

func (r *rig) unanswered(err error, what string) {
	r.Helper()
	if !errors.Is(err, kv.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		r.Errorf("%s on an engine that does not answer: %v; want ErrUnavailable or the end of the context", what, err)
	}
	r.once(err)
}

func (r *rig) eventually(what string, try func() error) {
	r.Helper()
	var err error
	for began := time.Now(); time.Since(began) < r.patience; r.pass(50 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	r.Fatalf("waited %s for %s: %v", r.patience, what, err)
}

// watchComesBack breaks the connection of a watch, and compares its view afterwards with the store.
func watchComesBack(r *rig) {
	w := r.watchPrefix("", kv.Current())
	w.expect("resync", "synced")
	r.put("k", "1")
	w.expect("put k 1")
	r.Kill(r)
	w.expect("lost")
	r.Revive(r)
	r.eventually("a write", func() error {
		_, err := r.store.Put(r.context(), "k", []byte("2"))
		return err
	})
	for ev := w.next(); ev.Kind != kv.EventPut || string(ev.Item.Value) != "2"; ev = w.next() {
		if ev.err != nil || ev.ended {
			r.Fatalf("the watch says %q, and should come back", ev)
		}
	}
	r.event("goos.kv.watch.lost")
}

// silent makes calls to an engine that keeps its connections open and does not answer. Calls end within a second of their context.
func silent(r *rig) {
	r.put("k", "1")
	r.Pause(r)
	for _, call := range []func(context.Context) error{
		func(ctx context.Context) error { _, err := r.store.Get(ctx, unread); return err },
		func(ctx context.Context) error { _, err := r.store.Put(ctx, "k", []byte("2")); return err },
	} {
		ctx, cancel := context.WithTimeout(r.Context(), 500*time.Millisecond)
		asked := time.Now()
		err := call(ctx)
		cancel()
		r.unanswered(err, "a call")
		if took := time.Since(asked); took > 1500*time.Millisecond {
			r.Errorf("a call ended %s after its context", took-500*time.Millisecond)
		}
	}
	r.Resume(r)
	r.eventually("the engine to answer again", func() error { return r.store.Ping(r.context()) })
}
