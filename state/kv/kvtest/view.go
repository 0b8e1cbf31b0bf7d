package kvtest

import (
	"fmt"
	"maps"
	"strconv"
	"sync"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
)

// view is a copy of the items below a prefix, maintained by a watch as the documentation of WatchPrefix describes.
type view struct {
	*rig
	prefix string

	mu      sync.Mutex
	items   map[string]kv.Item
	unseen  map[string]bool // since the latest Resync; nil outside of a snapshot
	losses  int             // the number of Lost events
	resyncs int
	seconds []string // repeated or missing events
}

// keep starts a copy, which ends with the test.
func (r *rig) keep(prefix string) *view {
	v := &view{rig: r, prefix: prefix, items: map[string]kv.Item{}}
	w := r.watchPrefix(prefix, kv.Current())
	go func() {
		for ev := range w.events {
			if ev.ended || ev.err != nil {
				return
			}
			v.take(ev.Event)
		}
	}()
	r.eventually("the watch to be in place", func() error {
		if v.mu.Lock(); v.resyncs == 0 || v.unseen != nil {
			v.mu.Unlock()
			return fmt.Errorf("it is not")
		}
		v.mu.Unlock()
		return nil
	})
	return v
}

// take applies one event.
func (v *view) take(ev kv.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch ev.Kind {
	case kv.EventPut:
		if v.unseen == nil {
			v.follows(ev.Item)
		}
		v.items[ev.Item.Key] = ev.Item
		delete(v.unseen, ev.Item.Key)
	case kv.EventDelete:
		delete(v.items, ev.Item.Key)
	case kv.EventResync:
		v.resyncs++
		v.unseen = map[string]bool{}
		for key := range v.items {
			v.unseen[key] = true
		}
	case kv.EventSynced:
		for key := range v.unseen {
			delete(v.items, key)
		}
		v.unseen = nil
	case kv.EventLost:
		v.losses++
	}
}

// follows records repeated items, and numbers that do not follow the previous one. Writers of numbers increment by one.
func (v *view) follows(it kv.Item) {
	old, known := v.items[it.Key]
	if !known {
		return
	}
	if old.Version == it.Version {
		v.seconds = append(v.seconds, fmt.Sprintf("%q at version %d came twice", it.Key, it.Version))
	}
	before, err := strconv.Atoi(string(old.Value))
	now, err2 := strconv.Atoi(string(it.Value))
	if err == nil && err2 == nil && now != before+1 {
		v.seconds = append(v.seconds, fmt.Sprintf("%q went from %d to %d", it.Key, before, now))
	}
}

// becomes waits until the copy equals a list of s. It fails if a driver with ExactEvents has repeated or omitted a change.
func (v *view) becomes(s *kv.Store, when string) {
	v.Helper()
	v.eventually("the watch's view to be right "+when, func() error {
		there := map[string]kv.Item{}
		for it, err := range s.List(v.context(), v.prefix) {
			if err != nil {
				return err
			}
			there[it.Key] = it
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.unseen != nil || !maps.EqualFunc(v.items, there, sameItem) {
			return fmt.Errorf("it has %d items, there are %d: %s", len(v.items), len(there), difference(v.items, there))
		}
		return nil
	})
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.caps.Has(driver.ExactEvents) && len(v.seconds) > 0 {
		v.Errorf("%s the watch was not exact: %s", when, v.seconds[0])
	}
}

func sameItem(a, b kv.Item) bool { return a.Version == b.Version && string(a.Value) == string(b.Value) }

// difference names one key whose items differ.
func difference(have, want map[string]kv.Item) string {
	for key, it := range want {
		if mine, ok := have[key]; !ok || !sameItem(mine, it) {
			return fmt.Sprintf("%q is %q at %d, and should be %q at %d", key, mine.Value, mine.Version, it.Value, it.Version)
		}
	}
	for key := range have {
		if _, ok := want[key]; !ok {
			return fmt.Sprintf("%q is not there any more", key)
		}
	}
	return "the versions differ"
}
