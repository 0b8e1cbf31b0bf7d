package osgrpc

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/balancer"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
)

// routed is the part of a service that exists if a Router chooses its instances.
type routed struct {
	route      *router.Service // nil without a Router
	refreshing atomic.Bool
	probing    sync.Once
	sharing    atomic.Pointer[map[string]*routedEndpoints] // the offered endpoints by address

	pickersMu sync.Mutex
	pickers   map[*routedBalancer]*picker // of the ClientConns, since their last change
}

// offer is what the resolver offers to a balancer.
type offer struct {
	service    *service
	generation uint64 // of the router's endpoints
}

// offerKey is the key of the offer among the attributes of a resolver.State.
type offerKey struct{}

// offered returns the attributes of a resolver.State, by which the balancer finds the service.
func (s *service) offered() *attributes.Attributes {
	if s.route == nil {
		return nil
	}
	_, generation := s.route.Endpoints()
	return attributes.New(offerKey{}, &offer{s, generation})
}

// routedChoices returns the router's endpoints that the filters accept. s.mu is held.
func (s *service) routedChoices(filters []discovery.Filter) (chosen []choice) {
	endpoints, _ := s.route.Endpoints()
	for _, e := range endpoints {
		i := e.Instance()
		if !slices.ContainsFunc(filters, func(accepts discovery.Filter) bool { return !accepts(i) }) {
			chosen = append(chosen, choice{i, e.Address(), e})
		}
	}
	return chosen
}

// refresh offers the router's endpoints again if they have changed, for example because of a new policy. The registry's changes are pushed
// without it.
func (o *offer) refresh() {
	if _, now := o.service.route.Endpoints(); now == o.generation || o.service.refreshing.Swap(true) {
		return
	}
	go func() {
		o.service.push()
		o.service.refreshing.Store(false)
	}()
}

// reportRouted reports a connection to the router's endpoints at an address. The router reports to the resolver.
func (s *service) reportRouted(address string, err error) {
	sharing := s.sharing.Load()
	if sharing == nil || (*sharing)[address] == nil {
		return
	}
	for _, e := range (*sharing)[address].list {
		e.Connected(err)
	}
}

// connected takes the present picker of a ClientConn.
func (s *service) connected(b *routedBalancer, p *picker) {
	s.probing.Do(func() { s.route.SetProber(s) })
	s.pickersMu.Lock()
	defer s.pickersMu.Unlock()
	if b.closed.Load() {
		return
	}
	if s.pickers == nil {
		s.pickers = map[*routedBalancer]*picker{}
	}
	s.pickers[b] = p
}

// disconnected forgets the picker of a ClientConn.
func (s *service) disconnected(b *routedBalancer) {
	s.pickersMu.Lock()
	defer s.pickersMu.Unlock()
	delete(s.pickers, b)
}

// connection returns the picker of a connection to an endpoint, or nil.
func (s *service) connection(e *router.Endpoint) balancer.Picker {
	s.pickersMu.Lock()
	defer s.pickersMu.Unlock()
	for _, p := range s.pickers {
		if c := p.connected[e]; c != nil {
			return c
		}
	}
	return nil
}

// request returns what the router is to know about a call.
func (s *service) request(ctx context.Context, method string) router.Request {
	repeatable := s.directory.idempotent.Get(method, idempotent)
	r := router.Request{Method: methodName(method), Idempotent: repeatable, Hedgeable: repeatable}
	if complete := s.directory.opts.Request; complete != nil {
		complete(ctx, method, &r)
	}
	return r
}
