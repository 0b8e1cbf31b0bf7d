package kvtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
)

// mirrors returns promises about Store.Update and Mirror, which build on CAS and Watch.
func mirrors() []promise {
	return []promise{
		{Name: "update/no change is lost", Needs: driver.CAS, RealClock: true, Check: updatesCount},
		{Name: "update/skipped and deleted", Needs: driver.CAS, Check: updateOutcomes},
		{Name: "mirror/fills and follows", Needs: driver.Watch, Check: mirrorFills},
		{Name: "mirror/what does not decode harms no other", Needs: driver.Watch, Check: mirrorInvalid},
		{Name: "mirror/starts over without a moment of emptiness", Needs: driver.Watch, Check: mirrorResyncs},
		{Name: "faults/mirror comes back", Needs: driver.Watch, Hook: "Kill", Check: mirrorComesBack},
	}
}

// updatesCount runs several writers that increment one item. No increment may be lost.
func updatesCount(r *rig) {
	const writers, each = 4, 5
	ctx := r.context()
	failed := make(chan error, writers)
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range each {
				_, err := r.store.Update(ctx, "n", func(old kv.Item) ([]byte, error) {
					time.Sleep(time.Millisecond)            // let the others write first
					n, _ := strconv.Atoi(string(old.Value)) // zero if absent
					return strconv.AppendInt(nil, int64(n+1), 10), nil
				})
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(failed)
	for err := range failed {
		r.Fatalf("Update: %v", err)
	}
	r.holds("n", fmt.Sprint(writers*each))
}

// updateOutcomes ends updates in each possible way.
func updateOutcomes(r *rig) {
	ends := func(with error) (kv.Version, error) {
		return r.store.Update(r.context(), "k", func(kv.Item) ([]byte, error) { return nil, with })
	}
	if v, err := ends(kv.SkipUpdate); v != 0 || err != nil {
		r.Errorf("a skipped update of no item returns version %d, %v", v, err)
	}
	r.absent("k")
	before := r.put("k", "1")
	if v, err := ends(kv.SkipUpdate); v != before || err != nil {
		r.Errorf("a skipped update returns version %d, %v; want %d", v, err, before)
	}
	own := errors.New("the caller's own")
	if _, err := ends(own); err != own {
		r.Errorf("an update that ends with an error returns %v, want %v as it is", err, own)
	}
	if it := r.holds("k", "1"); it.Version != before {
		r.Errorf("the version is %d, and was %d", it.Version, before)
	}
	if v, err := ends(kv.DeleteItem); v != 0 || err != nil {
		r.Errorf("an update that deletes returns version %d, %v", v, err)
	}
	r.absent("k")
}

// mirror returns a mirror of the numbers below "m/", and runs it until stop is called.
func (r *rig) mirror() (m *kv.Mirror[int], stop func()) {
	r.Helper()
	m, err := kv.NewMirror[int](r.store, "m/", nil)
	if err != nil {
		r.Fatalf("NewMirror: %v", err)
	}
	if status := m.Status(); status.State != kv.MirrorFilling {
		r.Errorf("a mirror that has not run is %s, want filling", status.State)
	}
	return m, r.start(m.Run)
}

// mirrors waits until a mirror is current and holds exactly these items.
func (r *rig) mirrors(m *kv.Mirror[int], want map[string]int) {
	r.Helper()
	r.eventually("the mirror", func() error {
		got := map[string]int{}
		for item := range m.All() {
			got[item.Key] = item.Value
		}
		if status := m.Status(); status.State != kv.MirrorCurrent || !maps.Equal(got, want) {
			return fmt.Errorf("it is %s and holds %v, want current and %v", status.State, got, want)
		}
		return nil
	})
}

func mirrorFills(r *rig) {
	r.put("m/a", "1")
	r.put("other", "7")
	m, stop := r.mirror()
	defer stop()
	select {
	case <-m.Complete():
	case <-time.After(r.patience):
		r.Fatalf("it is not complete within %s", r.patience)
	}
	r.mirrors(m, map[string]int{"m/a": 1})
	v := r.put("m/b", "2")
	r.put("m/a", "3")
	r.mirrors(m, map[string]int{"m/a": 3, "m/b": 2})
	if item, ok := m.Get("m/b"); !ok || item.Version != v {
		r.Errorf("Get returns version %d, %t; want %d", item.Version, ok, v)
	}
	r.delete("m/a")
	r.mirrors(m, map[string]int{"m/b": 2})
}

func mirrorInvalid(r *rig) {
	r.put("m/a", "1")
	r.put("m/bad", "no number")
	m, stop := r.mirror()
	defer stop()
	r.mirrors(m, map[string]int{"m/a": 1})
	if invalid := m.Invalid(); len(invalid) != 1 || !errors.Is(invalid["m/bad"], kv.ErrInvalid) {
		r.Errorf("Invalid returns %v, want m/bad with ErrInvalid", invalid)
	}
	r.event("goos.kv.mirror.invalid")
	r.put("m/a", "2")
	r.put("m/bad", "3")
	r.mirrors(m, map[string]int{"m/a": 2, "m/bad": 3})
	if invalid := m.Invalid(); len(invalid) != 0 {
		r.Errorf("Invalid returns %v after the value was replaced", invalid)
	}
}

// mirrorResyncs runs a mirror a second time, and checks it after each event of the snapshot. Items that still exist never disappear, and
// one that was deleted meanwhile does.
func mirrorResyncs(r *rig) {
	want := map[string]int{}
	for n := range 20 {
		key := fmt.Sprintf("m/%02d", n)
		r.put(key, fmt.Sprint(n))
		want[key] = n
	}
	var m *kv.Mirror[int]
	var again atomic.Bool
	var events, least atomic.Int64
	snapshot := &observedWatch{r.driver, func() {
		if again.Load() {
			events.Add(1)
			least.Store(min(least.Load(), int64(m.Len())))
		}
	}}
	m, err := kv.NewMirror[int](kv.New(snapshot, &kv.Options{Telemetry: r.Providers}), "m/", nil)
	if err != nil {
		r.Fatalf("NewMirror: %v", err)
	}
	stop := r.start(m.Run)
	r.mirrors(m, want)
	stop()
	if status := m.Status(); status.State != kv.MirrorStale || status.Items != len(want) {
		r.Errorf("a mirror that has ended is %s with %d items, want stale with %d", status.State, status.Items, len(want))
	}
	r.delete("m/00")
	delete(want, "m/00")
	r.put("m/01", "100")
	want["m/01"] = 100
	least.Store(int64(len(want)))
	again.Store(true)
	stop = r.start(m.Run)
	r.mirrors(m, want)
	stop()
	if events.Load() < int64(len(want)) {
		r.Errorf("a snapshot of %d items had %d events", len(want), events.Load())
	}
	if least.Load() < int64(len(want)) {
		r.Errorf("the mirror held %d of %d items while it started over", least.Load(), len(want))
	}
}

// observedWatch calls a function after the mirror has applied an event of its watch.
type observedWatch struct {
	driver.Driver
	after func()
}

// Capabilities leaves out abilities that are not passed through.
func (d *observedWatch) Capabilities() driver.Capabilities {
	caps := d.Driver.Capabilities()
	caps.Abilities &^= driver.List | driver.SnapshotList | driver.Batch | driver.Leases
	return caps
}

// Watch implements driver.Watcher.
func (d *observedWatch) Watch(ctx context.Context, req driver.WatchRequest, emit func(driver.Event) error) error {
	watcher, ok := d.Driver.(driver.Watcher)
	if !ok {
		return errors.ErrUnsupported
	}
	return watcher.Watch(ctx, req, func(ev driver.Event) error {
		err := emit(ev)
		d.after()
		return err
	})
}

func mirrorComesBack(r *rig) {
	r.put("m/a", "1")
	m, stop := r.mirror()
	defer stop()
	r.mirrors(m, map[string]int{"m/a": 1})
	r.Kill(r)
	r.eventually("the mirror to be stale", func() error {
		if status := m.Status(); status.State != kv.MirrorStale {
			return fmt.Errorf("it is %s", status.State)
		}
		return nil
	})
	if item, ok := m.Get("m/a"); !ok || item.Value != 1 {
		r.Errorf("a stale mirror holds %v, %t; want the last known value", item.Value, ok)
	}
	r.Revive(r)
	r.eventually("a write", func() error {
		_, err := r.store.Put(r.context(), "m/a", []byte("2"))
		return err
	})
	r.mirrors(m, map[string]int{"m/a": 2})
}
