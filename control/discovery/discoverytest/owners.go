package discoverytest

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
)

func owners() []promise {
	return []promise{
		{Name: "owners/later start wins", Needs: Writes | Reads | Incarnations, Together: true, Check: laterWins},
		{Name: "owners/epochs grow", Needs: Writes | Incarnations, Together: true, Check: epochsGrow},
		{Name: "owners/one of many stays", Needs: Writes | Reads | Incarnations, Together: true, Check: oneOfMany},
		{Name: "owners/goodbye spares a successor", Needs: Writes | Reads | Incarnations, Together: true, Check: spareSuccessor},
		{Name: "owners/late goodbye spares a successor", Needs: Writes | Reads | Incarnations, Hook: "Hold and Write", Check: lateGoodbye},
		{Name: "owners/late registration spares a successor", Needs: Writes | Reads | Incarnations, Hook: "Hold and Write", Check: lateRegistration},
		{Name: "owners/lease end spares a successor", Needs: Writes | Reads | Incarnations, Together: true, Check: leaseEndSpares},
	}
}

func laterWins(r *rig) {
	service := r.service("later")
	earlier, later := r.process(), r.process()
	v := r.watch(service).sync()
	one := earlier.register(earlier.record(service, "i"))
	v.shows(one)
	two := later.register(later.record(service, "i"))
	v.shows(two)
	one.Weight++
	r.is(earlier.Register(r.context(), one), driver.ErrConflict, "Register by a process that started earlier")
	r.finds(service, two)
	v.quiet(r.blink(), "the earlier process has failed to register")
	two.Weight++
	v.shows(later.register(two))
}

func epochsGrow(r *rig) {
	service := r.service("epochs")
	p := r.process()
	ask := func(least uint64) uint64 {
		epoch, err := p.Lease.Epoch(r.context(), service, "i", least)
		if err != nil {
			r.Fatalf("Epoch: %v", err)
		}
		if epoch < least {
			r.Errorf("epoch %d, want %d at least", epoch, least)
		}
		return epoch
	}
	ask(0)
	ask(p.epoch)
	record := p.register(p.record(service, "i"))
	if got := ask(5); got <= record.Epoch {
		r.Errorf("epoch %d, want more than %d, which is registered", got, record.Epoch)
	}
	p.goodbye(record, time.Minute)
	if got := ask(5); got <= record.Epoch && r.Has(Goodbyes) {
		r.Errorf("epoch %d, want more than %d, whose goodbye is there", got, record.Epoch)
	}
}

// oneOfMany has several processes register one ID at the same time.
func oneOfMany(r *rig) {
	service := r.service("many")
	var all []*process
	for range 5 {
		all = append(all, r.process())
	}
	var group sync.WaitGroup
	for _, p := range all {
		group.Go(func() {
			err := p.Register(r.context(), p.record(service, "i"))
			if err != nil && !errors.Is(err, driver.ErrConflict) {
				r.Errorf("Register at the same time as others: %v", err)
			}
		})
	}
	group.Wait()
	last := all[len(all)-1]
	want := last.record(service, "i")
	r.is(last.Register(r.context(), want), nil, "Register by the process that started last")
	for _, p := range all[:len(all)-1] {
		r.is(p.Register(r.context(), p.record(service, "i")), driver.ErrConflict, "Register by a process that started earlier")
	}
	r.watch(service).shows(want)
}

func spareSuccessor(r *rig) {
	service := r.service("spared")
	earlier, later := r.process(), r.process()
	one := earlier.register(earlier.record(service, "i"))
	two := later.register(later.record(service, "i"))
	v := r.watch(service)
	v.shows(two)
	earlier.goodbye(one, time.Minute)
	v.quiet(r.blink(), "a process said goodbye whose place another has taken")
	r.finds(service, two)
	later.goodbye(two, time.Minute)
	if r.Has(Goodbyes) {
		two.State = driver.Gone
		v.shows(two)
		one.Epoch = 1
		v.shows(earlier.register(one)) // a goodbye does not occupy its place
	} else {
		v.shows()
	}
}

// lateGoodbye holds each request of a goodbye back on its way, until a successor has registered.
func lateGoodbye(r *rig) {
	for n := 1; n <= 3; n++ {
		service := r.run + "late" + strconv.Itoa(n) // a word of letters and digits, which every protocol sends as it is
		p := r.process()
		record := p.register(p.record(service, "i"))
		held, release := r.Hold(r, service, n)
		ended := make(chan error, 1)
		gone := record
		gone.State = driver.Gone
		go func() { ended <- p.Deregister(r.context(), gone, time.Minute) }()
		select {
		case <-held:
		case err := <-ended: // it needs fewer requests
			r.is(err, nil, "Deregister")
			release()
			if n == 1 {
				r.Error("Deregister sent no request about the service")
			}
			return
		}
		successor := record
		successor.Incarnation, successor.Epoch, successor.Zone = "successor", r.nextEpoch(), "elsewhere"
		r.Write(r, successor)
		release()
		r.is(<-ended, nil, "Deregister that a successor has overtaken")
		r.finds(service, successor)
	}
}

// lateRegistration holds each request of a registration back on its way, until a successor has registered.
func lateRegistration(r *rig) {
	for n := 1; n <= 3; n++ {
		service := r.run + "latereg" + strconv.Itoa(n)
		p := r.process()
		record := p.register(p.record(service, "i"))
		record.Weight++
		held, release := r.Hold(r, service, n)
		ended := make(chan error, 1)
		go func() { ended <- p.Register(r.context(), record) }()
		select {
		case <-held:
		case err := <-ended: // it needs fewer requests
			r.is(err, nil, "Register")
			release()
			if n == 1 {
				r.Error("Register sent no request about the service")
			}
			return
		}
		successor := record
		successor.Incarnation, successor.Epoch, successor.Zone = "successor", r.nextEpoch(), "elsewhere"
		r.Write(r, successor)
		release()
		r.is(<-ended, driver.ErrConflict, "Register that a successor has overtaken")
		r.finds(service, successor)
	}
}

// leaseEndSpares ends the lease of a process after another one has taken its place.
func leaseEndSpares(r *rig) {
	service := r.service("inherited")
	earlier, later := r.process(), r.process()
	earlier.register(earlier.record(service, "i"))
	two := later.register(later.record(service, "i"))
	v := r.watch(service)
	v.shows(two)
	earlier.die()
	r.is(earlier.Revoke(r.context()), nil, "Revoke")
	v.quiet(r.blink(), "the lease of the earlier process was revoked")
	r.finds(service, two)
}
