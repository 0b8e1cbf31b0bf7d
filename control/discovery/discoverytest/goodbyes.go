package discoverytest

import (
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
)

func goodbyes() []promise {
	return []promise{
		{Name: "goodbyes/seen as gone", Needs: Writes | Reads | Goodbyes, Together: true, Check: goodbyeSeen},
		{Name: "goodbyes/outlive their lease", Needs: Writes | Reads | Goodbyes, Together: true, Check: goodbyeOutlives},
		{Name: "goodbyes/end", Needs: Writes | Reads | Goodbyes, Together: true, Check: goodbyeEnds},
		{Name: "goodbyes/remove the instance", Needs: Writes | Reads, Together: true, Check: goodbyeRemoves},
	}
}

// goodbyeSeen deregisters one of two instances. The process can register it again.
func goodbyeSeen(r *rig) {
	service := r.service("bye")
	p := r.process()
	one, two := p.register(p.record(service, "a")), p.register(p.record(service, "b"))
	v := r.watch(service)
	v.shows(one, two)
	p.goodbye(one, time.Minute)
	gone := one
	gone.State = driver.Gone
	v.shows(gone, two)
	p.goodbye(one, time.Minute)
	v.quiet(r.blink(), "a goodbye was repeated")
	v.shows(p.register(one), two)
}

// goodbyeOutlives ends the lease of an instance that has deregistered.
func goodbyeOutlives(r *rig) {
	service := r.service("outlives")
	p := r.process()
	record := p.register(p.record(service, "a"))
	other := p.register(p.record(service, "b"))
	v := r.watch(service)
	v.shows(record, other)
	p.goodbye(record, time.Minute)
	p.die()
	r.is(p.Revoke(r.context()), nil, "Revoke")
	record.State = driver.Gone
	v.shows(record)
	r.finds(service, record)
}

// goodbyeEnds gives a goodbye a short time of its own while the lease lives on.
func goodbyeEnds(r *rig) {
	r.long(r.ttl + r.late())
	service := r.service("byeends")
	p := r.process()
	record := p.register(p.record(service, "a"))
	other := p.register(p.record(service, "b"))
	v := r.watch(service)
	v.shows(record, other)
	sent := time.Now()
	p.goodbye(record, r.ttl)
	gone := record
	gone.State = driver.Gone
	v.shows(gone, other)
	v.shows(other)
	switch lived := time.Since(sent); {
	case lived < r.ttl:
		r.Errorf("a goodbye for %s was there for %s", r.ttl, lived)
	case lived > r.ttl+r.late():
		r.Errorf("a goodbye for %s was there for %s", r.ttl, lived)
	}
}

// goodbyeRemoves deregisters: however the registry shows it, the instance gets no more requests.
func goodbyeRemoves(r *rig) {
	service := r.service("leaves")
	p := r.process()
	record := p.register(p.record(service, "a"))
	v := r.watch(service)
	v.shows(record)
	p.goodbye(record, time.Minute)
	if r.Has(Goodbyes) {
		record.State = driver.Gone
		v.shows(record)
		return
	}
	v.shows()
}
