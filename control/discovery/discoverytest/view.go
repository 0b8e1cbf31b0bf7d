package discoverytest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
)

// view is a reader's view of a service.
type view struct {
	*rig
	service string
	stop    func() // ends the watch

	mu      sync.Mutex
	events  []driver.Event // not yet taken
	arrived chan struct{}  // signalled when there is another event
	ended   chan struct{}  // closed when the watch has ended

	records map[string]driver.Record // by ID
	invalid map[string]error         // by place
	unseen  map[string]bool          // IDs and places that a resync has not shown yet; nil outside a resync
	synced  bool
	lost    int // number of EventLost
}

// watch follows a service with a reader of its own.
func (r *rig) watch(service string) *view {
	r.Helper()
	reader := r.Registry.Reader(r)
	r.later(func() { r.close("Reader", reader.Close) })
	return r.watchWith(reader, service)
}

func (r *rig) watchWith(reader driver.Reader, service string) *view {
	v := &view{
		rig: r, service: service, arrived: make(chan struct{}, 1), ended: make(chan struct{}), records: map[string]driver.Record{}, invalid: map[string]error{},
	}
	v.stop = r.start(func(ctx context.Context) error {
		defer close(v.ended)
		return reader.Watch(ctx, service, v.add)
	})
	return v
}

func (v *view) add(e driver.Event) error {
	v.mu.Lock()
	v.events = append(v.events, e)
	v.mu.Unlock()
	select {
	case v.arrived <- struct{}{}:
	default:
	}
	return nil
}

// take returns the next event if there is one within d.
func (v *view) take(d time.Duration) (e driver.Event, ok bool) {
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	for {
		v.mu.Lock()
		if len(v.events) > 0 {
			e, v.events = v.events[0], v.events[1:]
			v.mu.Unlock()
			v.apply(e)
			return e, true
		}
		v.mu.Unlock()
		select {
		case <-v.arrived:
		case <-timeout.C:
			return driver.Event{}, false
		case <-v.ended:
			v.Fatalf("the watch of %q has ended by itself", v.service)
		}
	}
}

// next returns the next event.
func (v *view) next() driver.Event {
	v.Helper()
	e, ok := v.take(v.patience())
	if !ok {
		v.Fatalf("no event within %s; the view has %s", v.patience(), v)
	}
	return e
}

// quiet fails the test if there is an event within d.
func (v *view) quiet(d time.Duration, what string) {
	v.Helper()
	if e, ok := v.take(d); ok {
		v.Errorf("%s: the watch shows %s", what, describe(e))
	}
}

// apply updates the view, and checks that the event is allowed now.
func (v *view) apply(e driver.Event) {
	v.Helper()
	id := e.Record.ID
	if !v.synced && v.unseen == nil && e.Kind != driver.EventResync && e.Kind != driver.EventLost {
		v.Errorf("the watch begins with %s, want resync", describe(e))
	}
	switch e.Kind {
	case driver.EventResync:
		v.unseen = map[string]bool{}
		for place := range v.records {
			v.unseen[place] = true
		}
		for place := range v.invalid {
			v.unseen[place] = true
		}
	case driver.EventPut:
		v.checkPut(e)
		delete(v.unseen, id)
		delete(v.invalid, id)
		v.records[id] = e.Record
	case driver.EventInvalid:
		if e.Err == nil {
			v.Errorf("the invalid record %q has no error", id)
		}
		delete(v.unseen, id)
		delete(v.records, id)
		v.invalid[id] = e.Err
	case driver.EventDelete:
		delete(v.records, id)
		delete(v.invalid, id)
	case driver.EventSynced:
		for place := range v.unseen {
			delete(v.records, place)
			delete(v.invalid, place)
		}
		v.unseen, v.synced = nil, true
	case driver.EventLost:
		v.lost++
		v.classified(e.Err, "EventLost")
	default:
		v.Errorf("an event of kind %d", e.Kind)
	}
}

func (v *view) checkPut(e driver.Event) {
	v.Helper()
	if e.Record.Service != v.service {
		v.Errorf("the watch of %q shows a record of %q", v.service, e.Record.Service)
	}
}

// until takes events until check returns nil.
func (v *view) until(what string, check func() error) {
	v.Helper()
	err := check()
	for end := time.Now().Add(v.patience()); err != nil; err = check() {
		if _, ok := v.take(time.Until(end)); !ok {
			v.Fatalf("waited %s for %s: %v", v.patience(), what, err)
		}
	}
}

// sync takes events until the watch is in place.
func (v *view) sync() *view {
	v.Helper()
	v.until("the watch to be in place", func() error {
		if !v.synced || v.unseen != nil {
			return errors.New("no EventSynced yet")
		}
		return nil
	})
	return v
}

// shows takes events until the view has these records and no other.
func (v *view) shows(want ...driver.Record) {
	v.Helper()
	v.until("the records", func() error { return v.has(want...) })
}

// has returns an error unless the view has these records, valid, and no other.
func (v *view) has(want ...driver.Record) error {
	if !v.synced || v.unseen != nil {
		return errors.New("no EventSynced yet")
	}
	if len(v.records) != len(want) {
		return fmt.Errorf("it has %s, want %d records", v, len(want))
	}
	for _, w := range want {
		got, ok := v.records[w.ID]
		if !ok {
			return fmt.Errorf("it has %s, and not %s", v, w.ID)
		}
		if err := alike(got, v.Shown(w)); err != nil {
			return err
		}
	}
	return nil
}

// lacks takes events until the view has no record of an ID.
func (v *view) lacks(id string) {
	v.Helper()
	v.until("the end of "+id, func() error {
		if _, ok := v.records[id]; ok {
			return errors.New("it is still there")
		}
		return nil
	})
}

// String lists the IDs of the view.
func (v *view) String() string {
	ids := slices.Sorted(maps.Keys(v.records))
	if len(ids) > 20 {
		return fmt.Sprintf("%d records", len(ids))
	}
	return fmt.Sprintf("%d records %q", len(ids), ids)
}

func describe(e driver.Event) string {
	kind := map[driver.EventKind]string{
		driver.EventPut: "put", driver.EventDelete: "delete", driver.EventInvalid: "invalid", driver.EventResync: "resync",
		driver.EventSynced: "synced", driver.EventLost: "lost",
	}[e.Kind]
	if e.Record.ID != "" {
		kind += " " + e.Record.ID
	}
	if e.Err != nil {
		kind += ": " + e.Err.Error()
	}
	return kind
}

// finds fails the test unless the registry has these records of a service now.
func (r *rig) finds(service string, want ...driver.Record) {
	r.Helper()
	v := r.watch(service).sync()
	defer v.stop()
	if err := v.has(want...); err != nil {
		r.Errorf("a new watch of %s: %v", service, err)
	}
}
