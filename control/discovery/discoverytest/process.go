package discoverytest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
)

// process is a Registrar with a lease, which it renews until die.
type process struct {
	driver.Registrar
	driver.Lease
	rig         *rig
	incarnation string
	epoch       uint64
	die         func() // ends the renewals
}

// Close ends the renewals and closes the driver.
func (p *process) Close() error {
	p.die()
	return p.Registrar.Close()
}

// process returns a new process. The suite closes it. A later one has a larger epoch.
func (r *rig) process() *process {
	r.Helper()
	p := r.idler()
	p.die = r.start(func(ctx context.Context) error {
		for tick := time.NewTicker(r.ttl / 3); ; {
			select {
			case <-tick.C:
				_ = p.Renew(ctx) // a test that ends the lease looks for itself
			case <-ctx.Done():
				tick.Stop()
				return nil
			}
		}
	})
	return p
}

// idler returns a process that does not renew its lease.
func (r *rig) idler() *process {
	r.Helper()
	registrar := r.Registry.Registrar(r)
	p := &process{Registrar: registrar, rig: r, incarnation: rand.Text(), die: func() {}}
	r.later(func() { r.close("Registrar", p.Close) })
	lease, err := registrar.Grant(r.context(), r.ttl)
	if err != nil {
		r.Fatalf("Grant(%s): %v", r.ttl, err)
	}
	p.Lease = lease
	p.epoch = r.nextEpoch()
	return p
}

func (r *rig) nextEpoch() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.epoch++
	return r.epoch
}

// start calls run in a goroutine until stop is called, or the rig closes. It fails the test unless run returns nil.
func (r *rig) start(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stopped := false
	stop = func() {
		cancel()
		if stopped {
			return
		}
		stopped = true
		if err := <-ended; err != nil {
			r.Errorf("a call ended by its context returns %v", err)
		}
	}
	r.later(stop)
	return stop
}

// record returns a record of the process.
func (p *process) record(service, id string) driver.Record {
	return driver.Record{Instance: instance(service, id), Incarnation: p.incarnation, Epoch: p.epoch}
}

// instance returns an instance with every field.
func instance(service, id string) driver.Instance {
	return driver.Instance{
		Service: service, ID: id, Version: "1.2.3", Zone: "eu-1a", Weight: 100,
		Addresses: map[string]string{"grpc": "10.0.0.7:9000"}, Labels: map[string]string{"track": "stable"},
	}
}

// register writes a record, and fails the test if it cannot.
func (p *process) register(r driver.Record) driver.Record {
	p.rig.Helper()
	if err := p.Register(p.rig.context(), r); err != nil {
		p.rig.Fatalf("Register of %s/%s: %v", r.Service, r.ID, err)
	}
	return r
}

// goodbye deregisters a record, and fails the test if it cannot.
func (p *process) goodbye(r driver.Record, keep time.Duration) {
	p.rig.Helper()
	r.State = driver.Gone
	if err := p.Deregister(p.rig.context(), r, keep); err != nil {
		p.rig.Fatalf("Deregister of %s/%s: %v", r.Service, r.ID, err)
	}
}

// put brings an instance into the registry: by a process of its own, or by hand into a registry that is only read.
func (r *rig) put(i driver.Instance) driver.Record {
	r.Helper()
	if !r.Has(Writes) {
		record := driver.Record{Instance: i, Incarnation: "hand", Epoch: 1}
		r.Write(r, record)
		return record
	}
	if r.writer == nil {
		r.writer = r.process()
	}
	return r.writer.register(driver.Record{Instance: i, Incarnation: r.writer.incarnation, Epoch: r.writer.epoch})
}

// alike returns an error unless two records are equal in every field.
func alike(got, want driver.Record) error {
	switch {
	case got.Service != want.Service, got.ID != want.ID:
		return fmt.Errorf("%s/%s, want %s/%s", got.Service, got.ID, want.Service, want.ID)
	case got.State != want.State:
		return fmt.Errorf("%s: state %s, want %s", got.ID, got.State, want.State)
	case got.Incarnation != want.Incarnation, got.Epoch != want.Epoch:
		return fmt.Errorf("%s: incarnation %q, epoch %d; want %q, %d", got.ID, got.Incarnation, got.Epoch, want.Incarnation, want.Epoch)
	case !maps.Equal(got.Addresses, want.Addresses):
		return fmt.Errorf("%s: addresses %v, want %v", got.ID, got.Addresses, want.Addresses)
	case !maps.Equal(got.Labels, want.Labels):
		return fmt.Errorf("%s: labels %.200q, want %.200q", got.ID, fmt.Sprint(got.Labels), fmt.Sprint(want.Labels))
	case got.Version != want.Version, got.Zone != want.Zone, got.Weight != want.Weight:
		return fmt.Errorf("%s: version %.100q, zone %.100q, weight %d; want %.100q, %.100q, %d", got.ID, got.Version, got.Zone, got.Weight, want.Version, want.Zone, want.Weight)
	}
	return nil
}

// classes are the classes that a driver may give its errors, and the ends of a context.
var classes = []error{
	driver.ErrNotFound, driver.ErrConflict, driver.ErrInvalid, driver.ErrTooLarge, driver.ErrUnavailable, driver.ErrDenied, driver.ErrClosed,
	context.Canceled, context.DeadlineExceeded,
}

// classified fails the test if err has no class.
func (r *rig) classified(err error, what string) {
	r.Helper()
	for _, class := range classes {
		if errors.Is(err, class) {
			return
		}
	}
	r.Errorf("%s: %v (%T), which has no class", what, err, err)
}
