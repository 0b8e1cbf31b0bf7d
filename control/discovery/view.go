package discovery

import (
	"context"
	"errors"
	"sync/atomic"
)

// Filter reports whether an instance belongs to a View. It must not change the instance, and may be called by many goroutines at once.
type Filter func(*Instance) bool

// Available accepts instances that take new requests: they are Up and have a weight.
func Available(i *Instance) bool { return i.State == Up && i.Weight > 0 }

// InZone accepts the instances of a zone.
func InZone(zone string) Filter { return func(i *Instance) bool { return i.Zone == zone } }

// WithVersion accepts the instances of a version.
func WithVersion(version string) Filter {
	return func(i *Instance) bool { return i.Version == version }
}

// WithLabel accepts the instances that have this value of a label.
func WithLabel(name, value string) Filter {
	return func(i *Instance) bool {
		got, ok := i.Labels[name]
		return ok && got == value
	}
}

// View is the part of a service's instances that filters accept. It is safe for concurrent use, and needs no Close.
type View struct {
	service *service
	filters []Filter
	none    *Snapshot // before the service is known
	last    atomic.Pointer[filtered]
}

// filtered is a snapshot and the instances that pass the filters.
type filtered struct{ from, to *Snapshot }

// View returns the instances of a service that all filters accept. Like Lookup, it waits for the first answer of the registry. It returns
// the errors of Lookup except ErrNotFound: a View of an unregistered service is empty, and fills with the first registration. A program can
// therefore make all its views at start-up. A View costs a Snapshot of its own for each change; reading it costs two atomic reads.
func (r *Resolver) View(ctx context.Context, name string, filters ...Filter) (*View, error) {
	if _, err := r.Lookup(ctx, name); err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	s, err := r.follow(name)
	if err != nil {
		return nil, wrap("lookup", name, err)
	}
	return &View{service: s, filters: filters, none: &Snapshot{Service: name, service: s}}, nil
}

// Snapshot returns the present instances of the view.
func (v *View) Snapshot() *Snapshot {
	if now := v.snapshot(); now != nil {
		return now
	}
	return v.none
}

// snapshot returns the present instances; nil before the first answer, or if the service is unknown.
func (v *View) snapshot() *Snapshot {
	now := v.service.current.Load()
	if now == nil || len(v.filters) == 0 {
		return now
	}
	if last := v.last.Load(); last != nil && last.from == now {
		return last.to
	}
	next := &filtered{from: now, to: v.filter(now)}
	v.last.Store(next)
	return next.to
}

func (v *View) filter(s *Snapshot) *Snapshot {
	out := &Snapshot{Service: s.Service, service: s.service}
	for i := range s.Instances {
		if v.accepts(&s.Instances[i]) {
			out.add(s.Instances[i], s.incarnations[i], s.held[i])
		}
	}
	return out
}

func (v *View) accepts(i *Instance) bool {
	for _, f := range v.filters {
		if !f(i) {
			return false
		}
	}
	return true
}
