package discoverytest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
)

func faults() []promise {
	return []promise{
		{Name: "faults/calls while the engine is down", Needs: Writes, Hook: "Kill", Check: func(r *rig) { r.unanswered(r.Kill, r.Revive) }},
		{Name: "faults/calls while the engine is silent", Needs: Writes, Hook: "Pause", Check: func(r *rig) { r.unanswered(r.Pause, r.Resume) }},
		{Name: "faults/calls while the network is cut", Needs: Writes, Hook: "Cut", Check: func(r *rig) { r.unanswered(r.Cut, r.Heal) }},
		{Name: "faults/calls while the network is silent", Needs: Writes, Hook: "Drop", Check: func(r *rig) { r.unanswered(r.Drop, r.Heal) }},
		{Name: "faults/watch while the engine is down", Needs: Reads, Hook: "Kill and Put", Check: func(r *rig) { r.survives(r.Kill, r.Revive, nil) }},
		{Name: "faults/watch while the engine is silent", Needs: Reads, Hook: "Pause and Put", Check: func(r *rig) { r.survives(r.Pause, r.Resume, nil) }},
		{Name: "faults/watch while the leader is down", Needs: Reads, Hook: "KillLeader and Put", Check: func(r *rig) { r.survives(r.KillLeader, r.Revive, nil) }},
		{Name: "faults/watch while the network is cut", Needs: Reads, Hook: "Cut, Put, Write and Remove", Check: func(r *rig) { r.survives(r.Cut, r.Heal, r.unseen) }},
		{Name: "faults/watch while the network is silent", Needs: Reads, Hook: "Drop, Put, Write and Remove", Check: func(r *rig) { r.survives(r.Drop, r.Heal, r.unseen) }},
		{Name: "faults/history lost while cut off", Needs: Reads, Hook: "Cut, Put, Write, Remove and Compact", Check: func(r *rig) {
			r.survives(r.Cut, r.Heal, func(service string) {
				r.unseen(service)
				r.Compact(r)
			})
		}},
	}
}

// unanswered makes calls during a fault. Each returns a classified error soon after the end of its context. Afterwards they work again.
func (r *rig) unanswered(begin, end func(testing.TB)) {
	service := r.service("unanswered")
	p := r.process()
	record := p.register(p.record(service, "i"))
	begin(r)
	for name, call := range p.calls(record) {
		ctx, cancel := context.WithTimeout(r.Context(), 500*time.Millisecond)
		began := time.Now()
		err := call(ctx)
		cancel()
		if took := time.Since(began) - 500*time.Millisecond; took > grace {
			r.Errorf("%s returned %s after the end of its context", name, took)
		}
		if err == nil && (name == "Grant" || name == "Revoke" || name == "Deregister") {
			continue // without a request: the records end by themselves, or the record was seen to be gone
		}
		if !errors.Is(err, driver.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, driver.ErrNotFound) {
			r.Errorf("%s during a fault: %v; want ErrUnavailable or the end of the context", name, err)
		}
	}
	end(r)
	again := r.recovers(service, "i")
	if r.Has(Reads) {
		r.watch(service).shows(again)
	}
}

// recovers registers with a new lease as soon as the engine answers.
func (r *rig) recovers(service, id string) (record driver.Record) {
	r.Helper()
	r.eventually("a registration after the fault", func() error {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		registrar := r.Registry.Registrar(r)
		lease, err := registrar.Grant(ctx, max(r.ttl, 15*time.Second))
		if err == nil {
			record = driver.Record{Instance: instance(service, id), Incarnation: fmt.Sprint("after the fault ", r.nextEpoch()), Epoch: r.nextEpoch()}
			err = lease.Register(ctx, record)
		}
		if err != nil {
			_ = registrar.Close()
			return err
		}
		r.later(func() { r.close("Registrar", registrar.Close) })
		return nil
	})
	return record
}

// unseen changes a service while its watch is cut off.
func (r *rig) unseen(service string) {
	r.Helper()
	r.Remove(r, service, "removed")
	altered := driver.Record{Instance: instance(service, "altered"), Incarnation: "hand", Epoch: r.nextEpoch()}
	altered.Weight = 5
	r.Write(r, altered)
	for n := range 20 {
		added := driver.Record{Instance: instance(service, "added"), Incarnation: "hand", Epoch: r.nextEpoch()}
		added.Weight = n
		r.Write(r, added)
	}
}

// survives follows a service through a fault, with changes that the watch cannot see. Afterwards it shows the same as a new watch, and
// continues.
func (r *rig) survives(begin, end func(testing.TB), meanwhile func(service string)) {
	service := r.service("survives")
	v := r.watch(service)
	v.shows(r.put(instance(service, "removed")), r.put(instance(service, "altered")))
	begin(r)
	r.pass(500 * time.Millisecond)
	if meanwhile != nil {
		meanwhile(service)
	}
	r.pass(500 * time.Millisecond)
	end(r)
	if meanwhile != nil {
		v.until("what was written meanwhile", func() error {
			_, ok := v.records["added"]
			if _, there := v.records["removed"]; there || !ok {
				return fmt.Errorf("it has %s", v)
			}
			return nil
		})
	}
	v.agrees()
	var later driver.Record
	if r.Has(Writes) {
		later = r.recovers(service, "later")
	} else {
		later = r.put(instance(service, "later"))
	}
	v.until("a record that was written after the fault", func() error { return v.shown(later) })
}

// shown returns an error unless the view has a record as it is.
func (v *view) shown(want driver.Record) error {
	got, ok := v.records[want.ID]
	if !ok {
		return fmt.Errorf("it has %s, and not %s", v, want.ID)
	}
	return alike(got, v.Shown(want))
}

// agrees waits until the view shows the same as a new watch. Records of ended leases may vanish meanwhile.
func (v *view) agrees() {
	v.Helper()
	v.eventually("the watch to show what is there", func() error {
		for {
			if _, ok := v.take(10 * time.Millisecond); !ok {
				break
			}
		}
		fresh := v.watch(v.service).sync()
		defer fresh.stop()
		return v.equals(fresh)
	})
}

// equals returns an error unless two views have the same records.
func (v *view) equals(fresh *view) error {
	if len(v.records) != len(fresh.records) {
		return fmt.Errorf("it has %s, and a new watch has %s", v, fresh)
	}
	for id, want := range fresh.records {
		got, ok := v.records[id]
		if !ok {
			return fmt.Errorf("it has %s, and a new watch has %s", v, fresh)
		}
		if err := alike(got, want); err != nil {
			return err
		}
	}
	return nil
}
