package kvtest

import (
	"context"
	"fmt"
	"time"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
)

func network() []promise {
	return []promise{
		{Name: "faults/network cut and healed", Hook: "Cut", Check: cut},
		{Name: "faults/network cut under a watch", Needs: driver.Watch | driver.List, Hook: "Cut and Beside", Check: cutUnderWatch},
		{Name: "faults/network silent", Hook: "Drop", Check: dropped},
		{Name: "faults/network silent under a watch", Needs: driver.Watch | driver.List, Hook: "Drop and Beside", Check: droppedUnderWatch},
		{Name: "faults/network slow", Hook: "Slow", Check: slow},
		{Name: "faults/history lost while cut off", Needs: driver.Watch | driver.List, Hook: "Cut, Beside and Compact", Check: compactedWhileCut},
		{Name: "faults/history lost under a watch", Needs: driver.Watch | driver.List, Hook: "Compact", Check: compactedUnderWatch},
		{Name: "faults/paused for ten seconds", Hook: "Pause", Check: pausedForLong},
		{Name: "faults/leader killed", Hook: "KillLeader", Check: leaderKilled},
	}
}

// beside returns a store on the same key space whose connection to the engine is never faulty.
func (r *rig) beside() *kv.Store {
	s := kv.New(r.Beside(r), &kv.Options{PageSize: pageSize})
	r.others = append(r.others, s)
	return s
}

// change writes, overwrites and deletes below a prefix. n is the number of earlier calls.
func (r *rig) change(s *kv.Store, prefix string, n int) {
	r.Helper()
	steps := []func() error{
		func() error { _, err := s.Put(r.context(), prefix+"number", fmt.Append(nil, 2*n)); return err },
		func() error { _, err := s.Put(r.context(), fmt.Sprint(prefix, "new/", n), []byte("x")); return err },
		func() error { _, err := s.Put(r.context(), prefix+"number", fmt.Append(nil, 2*n+1)); return err },
		func() error { return s.Delete(r.context(), fmt.Sprint(prefix, "new/", n-2)) },
		func() error { _, err := s.Put(r.context(), fmt.Sprint(prefix, "kept/", n), []byte("x")); return err },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			r.Fatalf("a change beside the fault: %v", err)
		}
	}
}

// fails makes calls that cannot be answered. Each returns an error in time.
func (r *rig) fails() {
	r.Helper()
	const within = 500 * time.Millisecond
	for name, call := range map[string]func(context.Context) error{
		"Get":    func(ctx context.Context) error { _, err := r.store.Get(ctx, unread); return err },
		"Put":    func(ctx context.Context) error { _, err := r.store.Put(ctx, "unsure", nil); return err },
		"Delete": func(ctx context.Context) error { return r.store.Delete(ctx, "unsure") },
	} {
		ctx, cancel := context.WithTimeout(r.Context(), within)
		asked := time.Now()
		err := call(ctx)
		cancel()
		r.unanswered(err, name)
		if late := time.Since(asked) - within; late > time.Second {
			r.Errorf("%s ended %s after its context", name, late)
		}
	}
}

// recovers waits until a value from before the fault can be read, and a new one written.
func (r *rig) recovers() {
	r.Helper()
	// Each attempt is short. A request into a silent network is lost, and not every client notices before its context ends.
	attempt := func() (context.Context, context.CancelFunc) { return context.WithTimeout(r.Context(), 2*time.Second) }
	r.eventually("a read after the fault", func() error {
		ctx, cancel := attempt()
		defer cancel()
		it, err := r.store.Get(ctx, "before")
		if err == nil && string(it.Value) != "1" {
			err = fmt.Errorf("the value is %q", it.Value)
		}
		return err
	})
	r.eventually("a write after the fault", func() error {
		ctx, cancel := attempt()
		defer cancel()
		_, err := r.store.Put(ctx, "after", []byte("1"))
		return err
	})
	r.holds("after", "1")
}

func cut(r *rig) {
	r.put("before", "1")
	r.Cut(r)
	r.fails()
	r.Heal(r)
	r.recovers()
}

func dropped(r *rig) {
	r.put("before", "1")
	r.Drop(r)
	r.fails()
	r.Heal(r)
	r.recovers()
}

// underWatch makes changes before, during and after a fault, and returns the view of a watch on them.
func (r *rig) underWatch(begin, during func()) *view {
	r.Helper()
	other := r.beside()
	r.change(other, "v/", 0)
	v := r.keep("v/")
	r.change(other, "v/", 1)
	v.becomes(other, "before the fault")
	begin()
	for n := 2; n < 8; n++ {
		r.change(other, "v/", n)
	}
	during()
	for n := 8; n < 12; n++ {
		r.change(other, "v/", n)
	}
	v.becomes(other, "after the fault")
	return v
}

// lost fails the test unless the watch reported that its view may be stale.
func (v *view) lost() {
	v.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.losses == 0 {
		v.Error("the watch did not tell that it was lost")
	}
}

func cutUnderWatch(r *rig) {
	r.underWatch(func() { r.Cut(r) }, func() { r.Heal(r) }).lost()
}

// droppedUnderWatch drops packets for a while. Depending on how long, the watch may not notice; it must catch up in any case.
func droppedUnderWatch(r *rig) {
	r.underWatch(func() { r.Drop(r) }, func() { r.Heal(r) })
}

func compactedWhileCut(r *rig) {
	d := r.Beside(r)
	r.others = append(r.others, d)
	v := r.underWatch(func() { r.Cut(r) }, func() { r.Compact(r, d); r.Heal(r) })
	v.lost()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.resyncs < 2 { // the first was the initial snapshot
		v.Error("a watch whose place was forgotten did not start over")
	}
}

func compactedUnderWatch(r *rig) {
	w := r.keep("v/")
	for n := range 6 {
		r.change(r.store, "v/", n)
		r.Compact(r, r.driver)
	}
	w.becomes(r.store, "after its history was lost")
}

// slow delays every answer by 150 ms or more. All results stay correct, and a shorter context ends its call.
func slow(r *rig) {
	const latency, jitter = 150 * time.Millisecond, 50 * time.Millisecond
	v := r.put("k", "1")
	r.Slow(r, latency, jitter)
	ctx, cancel := context.WithTimeout(r.Context(), latency/3)
	asked := time.Now()
	_, err := r.store.Get(ctx, unread)
	cancel()
	r.unanswered(err, "a Get with less time than an answer takes")
	if took := time.Since(asked); took > time.Second+latency {
		r.Errorf("a call of %s ended after %s", latency/3, took)
	}
	r.eventually("an answer", func() error { _, err := r.store.Get(r.context(), "k"); return err })
	if it := r.holds("k", "1"); it.Version != v {
		r.Errorf("the version is %d, and was %d", it.Version, v)
	}
	now := r.put("k", "2")
	if r.caps.Has(driver.CAS) {
		r.conflicts("k", "x", kv.IfVersion(v))
		r.put("k", "3", kv.IfVersion(now))
	}
	if r.caps.Has(driver.Watch) {
		w := r.watchKey("k", kv.Current())
		for ev := w.next(); ev.Kind != kv.EventSynced; ev = w.next() {
			if ev.err != nil || ev.ended {
				r.Fatalf("the watch says %q", ev)
			}
		}
		r.put("k", "4")
		w.expect("put k 4")
	}
	r.Heal(r)
	r.eventually("the item", func() error { _, err := r.store.Get(r.context(), "k"); return err })
}

// pausedForLong pauses the engine until clients may give up connections, which they must then re-establish.
func pausedForLong(r *rig) {
	const long = 10 * time.Second
	r.put("before", "1")
	var v *view
	if r.caps.Has(driver.Watch | driver.List) {
		r.put("v/number", "0")
		v = r.keep("v/")
	}
	r.Pause(r)
	began := time.Now()
	r.fails()
	r.pass(time.Until(began.Add(long)))
	r.fails()
	r.Resume(r)
	r.recovers()
	if v != nil {
		r.put("v/number", "1")
		v.becomes(r.store, "after ten seconds of silence")
	}
}

// leaderKilled repeatedly kills the leader. Another one takes over, acknowledged writes survive, and the watch misses nothing.
func leaderKilled(r *rig) {
	const times = 3
	v := r.keep("l/")
	for n := range times {
		r.put("l/number", fmt.Sprint(2*n))
		r.KillLeader(r)
		killed := time.Now()
		var written kv.Version
		r.eventually("a write without the old leader", func() (err error) {
			ctx, cancel := context.WithTimeout(r.Context(), time.Second)
			defer cancel()
			if it, err := r.store.Get(ctx, "l/number"); err != nil || string(it.Value) == fmt.Sprint(2*n+1) {
				return err // the second one: written by the previous attempt
			}
			written, err = r.store.Put(ctx, "l/number", fmt.Append(nil, 2*n+1))
			return err
		})
		r.Logf("written again %s after the leader was killed, at version %d", time.Since(killed).Round(time.Millisecond), written)
		r.Revive(r)
	}
	r.holds("l/number", fmt.Sprint(2*times-1))
	v.becomes(r.store, "after leaders were killed")
}
