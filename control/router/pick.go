package router

import (
	"fmt"
	"slices"
	"sync/atomic"
)

// Pick is an endpoint that was chosen for one attempt. Copies are the same Pick. End it by Done.
type Pick struct {
	endpoint *Endpoint
	ended    *atomic.Bool
}

// Endpoint returns the chosen endpoint; nil for the zero Pick.
func (p Pick) Endpoint() *Endpoint { return p.endpoint }

// Address returns the address of the endpoint.
func (p Pick) Address() string { return p.endpoint.address }

// Arm returns the arm of the split that the request belongs to, or "".
func (p Pick) Arm() string { return "" }

// Reason returns why this endpoint was chosen, such as "cold" or "random".
func (p Pick) Reason() string { return "" }

// Answered records that the answer has begun. Its latency is measured up to here, and the request remains in flight. Without Answered, it is
// measured up to Done.
func (p Pick) Answered() {}

// Done records the outcome. It must be called for each Pick, at the end of the answer. Only the first call has an effect.
func (p Pick) Done(o Outcome) {
	if p.ended == nil || p.ended.Swap(true) {
		return
	}
	p.endpoint.inFlight.Add(-1)
}

// pick chooses an endpoint among some.
func (s *Service) pick(_ Request, among, tried []*Endpoint) (Pick, error) {
	n := s.next.Add(1)
	for i := range among {
		e := among[(n+uint64(i))%uint64(len(among))]
		if !slices.Contains(tried, e) {
			e.inFlight.Add(1)
			return Pick{e, new(atomic.Bool)}, nil
		}
	}
	return Pick{}, s.none()
}

// none returns the error of a service without an endpoint to choose.
func (s *Service) none() error {
	return &Error{Op: "pick", Service: s.key.name, Err: fmt.Errorf("%w: no endpoint with the protocol %q", ErrUnavailable, s.key.protocol)}
}

// present returns the table of the present snapshot.
func (s *Service) present() *table {
	view := s.view.Load()
	if view == nil {
		return nil
	}
	snapshot := view.Snapshot()
	if t := s.table.Load(); t != nil && t.from == snapshot {
		return t
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := &table{from: snapshot, generation: 1}
	if t := s.table.Load(); t != nil {
		next.generation = t.generation + 1
	}
	for n := range snapshot.Instances {
		i := &snapshot.Instances[n]
		key := endpointKey{i.ID, i.Addresses[s.key.protocol], snapshot.Incarnation(n)}
		e := s.endpoints[key]
		if e == nil {
			e = &Endpoint{service: s, address: key.address}
			s.endpoints[key] = e
		}
		e.instance.Store(i)
		next.endpoints = append(next.endpoints, e)
	}
	s.table.Store(next)
	return next
}
