package discoverytest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
)

func calls() []promise {
	return []promise{
		{Name: "calls/cancelled", Needs: Writes, Together: true, Check: cancelledCalls},
		{Name: "calls/watches end with their context", Needs: Reads, Hook: "Put", Together: true, Check: watchesEnd},
		{Name: "calls/at the same time", Needs: Writes | Reads, Together: true, Check: concurrentCalls},
		{Name: "calls/too large", Needs: Writes, Hook: "a record limit", Together: true, Check: tooLarge},
		{Name: "idle/no requests", Hook: "Requests and Put", Needs: Reads, Check: idle},
	}
}

// grace is how long after the end of its context a call may take.
const grace = time.Second

// calls returns every call of a process that sends requests.
func (p *process) calls(record driver.Record) map[string]func(context.Context) error {
	gone := record
	gone.State = driver.Gone
	return map[string]func(context.Context) error{
		"Grant": func(ctx context.Context) error { _, err := p.Registrar.Grant(ctx, p.rig.ttl); return err },
		"Epoch": func(ctx context.Context) error {
			_, err := p.Lease.Epoch(ctx, record.Service, record.ID, 1)
			return err
		},
		"Register":   func(ctx context.Context) error { record.Weight++; return p.Register(ctx, record) },
		"Deregister": func(ctx context.Context) error { return p.Deregister(ctx, gone, time.Minute) },
		"Renew":      p.Renew,
		"Revoke":     p.Revoke,
	}
}

// cancelledCalls makes every call with a context that has ended. None of them may change anything.
func cancelledCalls(r *rig) {
	service := r.service("cancelled")
	p := r.process()
	record := p.register(p.record(service, "i"))
	ctx, cancel := context.WithCancel(r.context())
	cancel()
	for name, call := range p.calls(record) {
		if name == "Grant" || name == "Renew" || name == "Revoke" {
			continue // a registry may need no request for them
		}
		began := time.Now()
		err := call(ctx)
		if err == nil {
			r.Errorf("%s with a cancelled context returns no error", name)
		} else {
			r.classified(err, name+" with a cancelled context")
		}
		if took := time.Since(began); took > grace {
			r.Errorf("%s with a cancelled context took %s", name, took)
		}
	}
	if r.Has(Reads) {
		r.finds(service, record)
	}
}

// watchesEnd ends watches that are in place, and some that have not begun.
func watchesEnd(r *rig) {
	service := r.service("ends")
	record := r.put(instance(service, "i"))
	reader := r.Registry.Reader(r)
	r.later(func() { r.close("Reader", reader.Close) })
	watches := map[string]func(context.Context, chan<- struct{}) error{
		"Watch of a Reader": func(ctx context.Context, begun chan<- struct{}) error {
			return reader.Watch(ctx, service, func(e driver.Event) error {
				if e.Kind == driver.EventSynced {
					begun <- struct{}{}
				}
				return nil
			})
		},
	}
	if r.Has(Writes) {
		watches["Watch of a Lease"] = func(ctx context.Context, begun chan<- struct{}) error {
			begun <- struct{}{}
			return r.writer.Watch(ctx, record, func() {})
		}
	}
	for name, watch := range watches {
		for _, early := range []bool{false, true} {
			r.ends(name, early, watch)
		}
	}
}

// ends fails the test unless a watch returns soon after its context has ended, without an error.
func (r *rig) ends(name string, early bool, watch func(context.Context, chan<- struct{}) error) {
	r.Helper()
	ctx, cancel := context.WithCancel(r.context())
	defer cancel()
	if early {
		cancel()
	}
	begun, ended := make(chan struct{}, 100), make(chan error, 1)
	go func() { ended <- watch(ctx, begun) }()
	if !early {
		select {
		case <-begun:
			r.pass(r.blink())
		case err := <-ended:
			r.Errorf("%s has ended by itself: %v", name, err)
			return
		}
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil && !(early && errors.Is(err, context.Canceled)) {
			r.Errorf("%s, whose context has ended, returns %v; want nil", name, err)
		}
	case <-time.After(grace):
		r.Errorf("%s has not returned %s after the end of its context", name, grace)
		<-ended
	}
}

// concurrentCalls uses one lease from many goroutines.
func concurrentCalls(r *rig) {
	const goroutines = 8
	service := r.service("concurrent")
	p := r.process()
	want := make([]driver.Record, goroutines)
	var group sync.WaitGroup
	for n := range goroutines {
		group.Go(func() {
			record := p.record(service, fmt.Sprintf("i%d", n))
			for weight := range 5 {
				record.Weight = weight
				r.is(p.Register(r.context(), record), nil, "Register at the same time as others")
				r.is(p.Renew(r.context()), nil, "Renew at the same time as others")
			}
			want[n] = record
		})
	}
	group.Wait()
	r.watch(service).shows(want...)
}

// tooLarge registers a record above the limit, and then one below it.
func tooLarge(r *rig) {
	service := r.service("large")
	p := r.process()
	record := p.record(service, "i")
	record.Labels = map[string]string{"large": strings.Repeat("x", r.caps.MaxRecord)}
	r.is(p.Register(r.context(), record), driver.ErrTooLarge, "Register of more than %d bytes", r.caps.MaxRecord)
	record.Labels = nil
	p.register(record)
	if r.Has(Reads) {
		r.finds(service, record)
	}
}

// idle counts the requests of watches in a registry in which nothing happens.
func idle(r *rig) {
	const services = 3
	var p *process
	watches := 0
	for n := range services {
		i := instance(r.service(fmt.Sprintf("idle%d", n)), "i")
		if r.Has(Writes) {
			if p == nil {
				p = r.idler()
			}
			record := p.register(driver.Record{Instance: i, Incarnation: p.incarnation, Epoch: p.epoch})
			r.watchOwn(p, record).settle()
			watches++
		} else {
			r.Write(r, driver.Record{Instance: i, Incarnation: "hand", Epoch: 1})
		}
		r.watch(i.Service).sync()
		watches++
	}
	before, began := r.Requests(), time.Now()
	r.pass(min(3*time.Second, r.ttl/2))
	sent, most := r.Requests()-before, int64(r.Polls*time.Since(began).Seconds()*float64(watches))
	if most > 0 {
		most += int64(watches) // the polls need not be in step
	}
	if sent > most {
		r.Errorf("%d watches sent %d requests within %s, want %d at most", watches, sent, time.Since(began).Round(time.Millisecond), most)
	}
}
