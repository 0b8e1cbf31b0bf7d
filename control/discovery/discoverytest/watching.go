package discoverytest

import (
	"errors"
	"fmt"
	"sync"

	"github.com/go-os/go-os/control/discovery/driver"
)

func watching() []promise {
	return []promise{
		{Name: "watch/one moment, then changes", Needs: Reads, Hook: "Put", Together: true, Check: watchOrder},
		{Name: "watch/unknown service", Needs: Reads, Hook: "Put", Together: true, Check: watchUnknown},
		{Name: "watch/no change is lost", Needs: Writes | Reads, Together: true, Check: watchLosesNothing},
		{Name: "watch/removed and written again", Needs: Reads, Hook: "Put and Remove", Together: true, Check: watchReplaced},
		{Name: "watch/all removed at once", Needs: Reads, Hook: "Put and Remove", Together: true, Check: watchWiped},
		{Name: "watch/malformed record", Needs: Reads, Hook: "Put, Spoil and Remove", Together: true, Check: watchMalformed},
		{Name: "watch/two readers", Needs: Reads, Hook: "Put", Together: true, Check: watchTwice},
		{Name: "watch/error of the consumer", Needs: Reads, Hook: "Put", Together: true, Check: watchError},
	}
}

// watchOrder checks the order of the first events: resync, every record once, synced.
func watchOrder(r *rig) {
	service := r.service("order")
	var want []driver.Record
	for n := range 5 {
		want = append(want, r.put(instance(service, fmt.Sprintf("i%d", n))))
	}
	v := r.watch(service)
	if e := v.next(); e.Kind != driver.EventResync {
		r.Errorf("the watch begins with %s, want resync", describe(e))
	}
	shown := map[string]int{}
	for e := v.next(); e.Kind != driver.EventSynced; e = v.next() {
		if shown[e.Record.ID]++; e.Kind != driver.EventPut || shown[e.Record.ID] > 1 {
			r.Errorf("the snapshot has %s, for the %d. time", describe(e), shown[e.Record.ID])
		}
	}
	if err := v.has(want...); err != nil {
		r.Errorf("after the first EventSynced: %v", err)
	}
	want = append(want, r.put(instance(service, "later")))
	if e := v.next(); e.Kind == driver.EventPut && e.Record.ID != "later" {
		r.Errorf("after another record was written the watch shows %s", describe(e))
	}
	v.shows(want...)
}

func watchUnknown(r *rig) {
	service := r.service("unknown")
	v := r.watch(service).sync()
	if len(v.records) > 0 {
		r.Errorf("an unknown service has %s", v)
	}
	v.shows(r.put(instance(service, "i")))
}

// watchLosesNothing begins watches while several processes change records.
func watchLosesNothing(r *rig) {
	const writers, changes = 4, 25
	service := r.service("busy")
	final := make([]driver.Record, writers)
	var group sync.WaitGroup
	var views []*view
	for n := range writers {
		p := r.process()
		group.Go(func() {
			for c := range changes {
				record := p.record(service, fmt.Sprintf("i%d", n))
				record.Weight = c
				if err := p.Register(r.context(), record); err != nil {
					r.Errorf("Register: %v", err)
				}
				final[n] = record
			}
		})
		views = append(views, r.watch(service))
	}
	group.Wait()
	for _, v := range views {
		v.shows(final...)
	}
}

func watchReplaced(r *rig) {
	service := r.service("replaced")
	i := instance(service, "i")
	v := r.watch(service)
	v.shows(r.put(i))
	for n := range 5 {
		r.Remove(r, service, "i")
		i.Weight = n
		v.shows(r.put(i))
	}
	r.Remove(r, service, "i")
	v.shows()
}

func watchWiped(r *rig) {
	service := r.service("wiped")
	var want []driver.Record
	for n := range 5 {
		want = append(want, r.put(instance(service, fmt.Sprintf("i%d", n))))
	}
	v := r.watch(service)
	v.shows(want...)
	for _, record := range want {
		r.Remove(r, service, record.ID)
	}
	v.shows()
	if r.Has(Writes) {
		v.shows(r.put(want[0].Instance)) // its lease lives on
	}
}

// watchMalformed spoils one record of three, before and under a watch, and repairs it.
func watchMalformed(r *rig) {
	service := r.service("malformed")
	one, two := r.put(instance(service, "a")), r.put(instance(service, "b"))
	early := r.watch(service)
	early.shows(one, two)
	place := r.Spoil(r, service, "c")
	for _, v := range []*view{early, r.watch(service)} {
		v.until("the malformed record", func() error { return v.invalidAt(place) })
		v.shows(one, two)
	}
	three := r.put(instance(service, "c"))
	early.shows(one, two, three)
	early.until("the repaired record", func() error { return early.invalidAt("") })
	place = r.Spoil(r, service, "c")
	early.until("the spoilt record", func() error { return early.invalidAt(place) })
	early.shows(one, two)
	r.Remove(r, service, "c")
	early.until("the removed record", func() error { return early.invalidAt("") })
	if len(early.records) != 2 {
		r.Errorf("after a malformed record was removed the watch has %s", early)
	}
}

// invalidAt returns an error unless the record in this place is the only invalid one; if place is empty, no
// record may be invalid.
func (v *view) invalidAt(place string) error {
	want := 0
	if place != "" {
		want = 1
		err, ok := v.invalid[place]
		if !ok {
			return fmt.Errorf("it has the invalid places %v, want %q", v.invalid, place)
		}
		if !errors.Is(err, driver.ErrInvalid) {
			return fmt.Errorf("the error is %w, want ErrInvalid", err)
		}
	}
	if len(v.invalid) != want {
		return fmt.Errorf("it has the invalid places %v, want %q", v.invalid, place)
	}
	return nil
}

// watchTwice follows one service with two readers, and twice with one of them.
func watchTwice(r *rig) {
	service := r.service("twice")
	reader := r.Registry.Reader(r)
	r.later(func() { r.close("Reader", reader.Close) })
	views := []*view{r.watch(service), r.watchWith(reader, service), r.watchWith(reader, service)}
	one := r.put(instance(service, "a"))
	for _, v := range views {
		v.shows(one)
	}
	views[1].stop()
	two := r.put(instance(service, "b"))
	views[0].shows(one, two)
	views[2].shows(one, two)
}

// watchError ends a watch by an error of its consumer.
func watchError(r *rig) {
	service := r.service("error")
	r.put(instance(service, "a"))
	reader := r.Registry.Reader(r)
	r.later(func() { r.close("Reader", reader.Close) })
	failure := errors.New("the consumer fails")
	for _, kind := range []driver.EventKind{driver.EventResync, driver.EventPut, driver.EventSynced} {
		err := reader.Watch(r.context(), service, func(e driver.Event) error {
			if e.Kind == kind {
				return failure
			}
			return nil
		})
		r.is(err, failure, "Watch whose consumer fails at event %d", kind)
	}
}
