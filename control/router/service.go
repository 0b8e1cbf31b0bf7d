package router

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/go-os/go-os/control/discovery"
)

// Service is a service as this process calls it by one protocol. It is safe for concurrent use.
type Service struct {
	router *Router
	key    serviceKey
	view   atomic.Pointer[discovery.View] // nil before the registry's first answer
	next   atomic.Uint64
	table  atomic.Pointer[table]

	mu        sync.Mutex
	endpoints map[endpointKey]*Endpoint
}

// table is what requests choose from. It is immutable.
type table struct {
	from       *discovery.Snapshot
	generation uint64
	endpoints  []*Endpoint
}

func newService(r *Router, key serviceKey) *Service {
	return &Service{router: r, key: key, endpoints: map[endpointKey]*Endpoint{}}
}

// Name returns the name of the service.
func (s *Service) Name() string { return s.key.name }

// Protocol returns the protocol, such as "http".
func (s *Service) Protocol() string { return s.key.protocol }

// Endpoints returns the present endpoints of the service, including ejected ones, and a number that changes when they do. Do not change the
// slice. There are none before Ready.
func (s *Service) Endpoints() (endpoints []*Endpoint, generation uint64) {
	if t := s.present(); t != nil {
		return t.endpoints, t.generation
	}
	return nil, 0
}

// Endpoint returns the present endpoint of an instance, or nil.
func (s *Service) Endpoint(id, address string) *Endpoint {
	endpoints, _ := s.Endpoints()
	for _, e := range endpoints {
		if e.address == address && e.Instance().ID == id {
			return e
		}
	}
	return nil
}

// Among returns a selection of endpoints, such as those with a connection.
func (s *Service) Among(endpoints []*Endpoint) *Selection {
	return &Selection{service: s, only: endpoints}
}

// Selection is a part of the endpoints of a service.
type Selection struct {
	service *Service
	only    []*Endpoint
}

// Pick chooses an endpoint of the selection. It never blocks. Tried endpoints are avoided.
func (x *Selection) Pick(req Request, tried ...*Endpoint) (Pick, error) {
	return x.service.pick(req, x.only, tried)
}

// Pick chooses an endpoint for a request. The first Pick of a service waits for the registry, see Ready. Tried endpoints are avoided. End
// the Pick by Done.
//
// It returns ErrUnavailable if there is no endpoint, and an ErrRejected if the policy forbids the request now.
func (s *Service) Pick(ctx context.Context, req Request, tried ...*Endpoint) (Pick, error) {
	if s.view.Load() == nil {
		if err := s.Ready(ctx); err != nil {
			return Pick{}, err
		}
	}
	t := s.present()
	return s.pick(req, t.endpoints, tried)
}

// Endpoint is one instance of a service at one address. The same process at the same address stays the same Endpoint while it is known.
type Endpoint struct {
	service  *Service
	address  string
	instance atomic.Pointer[discovery.Instance]
	inFlight atomic.Int64
}

type endpointKey struct{ id, address, incarnation string }

// Instance returns the instance as the registry shows it now. Do not change it.
func (e *Endpoint) Instance() *discovery.Instance { return e.instance.Load() }

// Address returns the address for the protocol.
func (e *Endpoint) Address() string { return e.address }
