package discoverytest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
)

func leases() []promise {
	return []promise{
		{Name: "leases/end after their TTL", Needs: Writes | Reads, Together: true, Check: leaseEnds},
		{Name: "leases/renewed ones stay", Needs: Writes | Reads, Together: true, Check: leaseStays},
		{Name: "leases/ended ones are not found", Needs: Writes, Together: true, Check: leaseEnded},
		{Name: "leases/revoked with their records", Needs: Writes | Reads, Together: true, Check: leaseRevoked},
		{Name: "leases/one for several services", Needs: Writes | Reads, Together: true, Check: leaseShared},
		{Name: "own/changes are noticed", Needs: Writes, Hook: "Write and Remove", Together: true, Check: ownChanges},
	}
}

// leaseEnds waits for the end of a lease without renewals, and of another after one renewal.
func leaseEnds(r *rig) {
	r.long(r.ttl + r.late())
	service := r.service("ends")
	v := r.watch(service).sync()
	p := r.idler()
	record := p.register(p.record(service, "i"))
	v.shows(record)
	r.pass(r.ttl / 2)
	sent := time.Now()
	r.is(p.Renew(r.context()), nil, "Renew")
	v.lacks("i")
	switch lived := time.Since(sent); {
	case lived < r.ttl:
		r.Errorf("the record vanished %s after a renewal, before its TTL of %s", lived, r.ttl)
	case lived > r.ttl+r.late():
		r.Errorf("the record vanished %s after the last renewal of a TTL of %s", lived, r.ttl)
	}
}

func leaseStays(r *rig) {
	r.long(2 * r.ttl)
	service := r.service("stays")
	p := r.process()
	record := p.register(p.record(service, "i"))
	v := r.watch(service)
	v.shows(record)
	v.quiet(2*r.ttl, "a lease is renewed")
	r.is(p.Renew(r.context()), nil, "Renew after two TTLs of renewals")
	r.finds(service, record)
}

// leaseEnded calls a lease that another process would find ended.
func leaseEnded(r *rig) {
	service := r.service("ended")
	p := r.idler()
	record := p.register(p.record(service, "i"))
	r.is(p.Revoke(r.context()), nil, "Revoke")
	r.is(p.Renew(r.context()), driver.ErrNotFound, "Renew of a lease that was revoked")
	r.is(p.Register(r.context(), record), driver.ErrNotFound, "Register with a lease that was revoked")
	r.is(p.Register(r.context(), p.record(service, "j")), driver.ErrNotFound, "Register of another record with a lease that was revoked")
	if r.Has(Reads) {
		r.finds(service)
	}
}

func leaseRevoked(r *rig) {
	service := r.service("revoked")
	a, b := r.process(), r.process()
	v := r.watch(service).sync()
	one, two := a.register(a.record(service, "a")), b.register(b.record(service, "b"))
	v.shows(one, two)
	r.is(a.Revoke(r.context()), nil, "Revoke")
	v.shows(two)
	r.is(b.Renew(r.context()), nil, "Renew of the other lease")
}

func leaseShared(r *rig) {
	p := r.process()
	var views []*view
	for n := range 5 {
		service := r.service(fmt.Sprintf("shared%d", n))
		v := r.watch(service)
		v.shows(p.register(p.record(service, "i")))
		views = append(views, v)
	}
	r.is(p.Revoke(r.context()), nil, "Revoke")
	for _, v := range views {
		v.shows()
	}
}

// blink is how long the suite waits for an event that must not occur.
func (r *rig) blink() time.Duration { return min(r.ttl/4, 500*time.Millisecond) }

// own is a watch of a process on its own record.
type own struct {
	*rig
	changes chan struct{}
}

// watchOwn follows the record of a process until the rig closes.
func (r *rig) watchOwn(p *process, record driver.Record) *own {
	o := &own{r, make(chan struct{}, 1000)}
	r.start(func(ctx context.Context) error {
		return p.Watch(ctx, record, func() { o.changes <- struct{}{} })
	})
	return o
}

// settle waits until the watch is in place, and has reported earlier events.
func (o *own) settle() {
	o.Helper()
	quiet := o.blink()
	for {
		select {
		case <-o.changes:
		case <-time.After(quiet):
			return
		}
	}
}

// quiet fails the test if the watch reports a change.
func (o *own) quiet(what string) {
	o.Helper()
	select {
	case <-o.changes:
		o.Errorf("%s: the watch of the own record reports a change", what)
	case <-time.After(o.blink()):
	}
}

// expect fails the test unless the watch reports a change.
func (o *own) expect(what string) {
	o.Helper()
	select {
	case <-o.changes:
	case <-time.After(o.patience()):
		o.Errorf("%s: the watch of the own record reports nothing within %s", what, o.patience())
	}
	o.settle()
}

// ownChanges alters and removes a record while its process watches it.
func ownChanges(r *rig) {
	service := r.service("own")
	p := r.process()
	record := p.register(p.record(service, "i"))
	neighbour := p.register(p.record(service, "i2"))
	o := r.watchOwn(p, record)
	o.settle()
	altered := record
	altered.Weight++
	for range 2 {
		r.Write(r, altered)
		o.expect("it was altered")
		p.register(record)
		o.settle()
		r.Remove(r, service, "i")
		o.expect("it was removed")
		p.register(record)
		o.settle()
	}
	neighbour.Weight++
	p.register(neighbour)
	o.quiet("another record was altered")
	ctx, cancel := context.WithCancel(r.context())
	cancel()
	if err := p.Watch(ctx, record, func() {}); err != nil && !errors.Is(err, context.Canceled) {
		r.Errorf("Watch with a cancelled context: %v", err)
	}
}
