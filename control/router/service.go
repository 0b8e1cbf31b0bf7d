package router

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router/internal/breaker"
	"github.com/go-os/go-os/control/router/internal/health"
	"github.com/go-os/go-os/control/router/statistics"
	"github.com/go-os/go-os/internal/sanitize"
)

// Service is a service as this process calls it by one protocol. It is safe for concurrent use.
type Service struct {
	router *Router
	key    serviceKey
	errors rejections
	about  []attribute.KeyValue

	compiled atomic.Pointer[policy]
	view     atomic.Pointer[discovery.View] // nil before the registry's first answer
	current  atomic.Pointer[table]          // nil before the first request
	dirty    atomic.Bool                    // the table must be rebuilt: an ejection has begun or ended
	guards   guards
	monitor  *health.Monitor
	latency  statistics.Window
	stats    *statistics.Service // nil if nothing is counted by method
	counts   counts
	prober   atomic.Pointer[Prober]
	probing  atomic.Int64

	mu        sync.Mutex // held while the table is rebuilt
	endpoints map[endpointKey]*Endpoint
	document  *policy // that the guards were made for
	panicking bool    // as reported
}

func newService(r *Router, key serviceKey) *Service {
	name := sanitize.Text(key.name, maxName)
	s := &Service{
		router: r, key: key, errors: newRejections(key.name), endpoints: map[endpointKey]*Endpoint{}, monitor: health.New(health.Config{}),
		about: []attribute.KeyValue{serviceAttr.String(name), protocolAttr.String(key.protocol)},
	}
	if r.opts.Statistics != nil {
		s.stats = r.opts.Statistics.Service(key.name, key.protocol)
	}
	return s
}

// policy returns the policy in force.
func (s *Service) policy() *policy { return s.compiled.Load() }

func (s *Service) budget() *breaker.Budget {
	if b := s.guards.budget.Load(); b != nil {
		return b
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.obey(s.router.now(), s.policy())
	return s.guards.budget.Load()
}

// Name returns the name of the service.
func (s *Service) Name() string { return s.key.name }

// Protocol returns the protocol, such as "http".
func (s *Service) Protocol() string { return s.key.protocol }

// Ready waits until the registry has answered about the service, or ctx or Options.Wait ends. It returns the errors of a lookup: see
// discovery.Resolver.View.
func (s *Service) Ready(ctx context.Context) error {
	if s.view.Load() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.router.opts.Wait)
	defer cancel()
	filters := append(slices.Clone(s.router.opts.Filters), discovery.WithProtocol(s.key.protocol))
	view, err := s.router.resolver.View(ctx, s.key.name, filters...)
	if err != nil {
		return &Error{Op: "pick", Service: s.key.name, Err: err}
	}
	s.view.CompareAndSwap(nil, view)
	return nil
}

// Endpoints returns the endpoints that this process uses, ejected ones included, and a number that changes when they do. There are none before
// Ready. Do not change the slice.
func (s *Service) Endpoints() (endpoints []*Endpoint, generation uint64) {
	t := s.table(s.router.now())
	if t == nil {
		return nil, 0
	}
	return t.endpoints, t.generation
}

// Endpoint returns the endpoint of an instance at an address, or nil if it is not among Endpoints.
func (s *Service) Endpoint(id, address string) *Endpoint {
	endpoints, _ := s.Endpoints()
	for _, e := range endpoints {
		if e.key.address == address && e.key.id == id {
			return e
		}
	}
	return nil
}

// SetProber sets how endpoints are probed for their load. Without a Prober, Auto is PeakEWMA.
func (s *Service) SetProber(p Prober) {
	var next *Prober
	if p != nil {
		next = &p
	}
	if before := s.prober.Swap(next); (before == nil) != (next == nil) {
		s.dirty.Store(true)
	}
}

// Prober asks endpoints for their load.
type Prober interface {
	// Probe returns the present load of the endpoint. It returns errors.ErrUnsupported if the endpoint does not answer probes: the endpoint
	// is then not probed for ten minutes.
	Probe(ctx context.Context, e *Endpoint) (Load, error)
}

// Pick chooses an endpoint for a request. The first Pick of a service waits for the registry: see Ready. Tried endpoints are avoided. End the
// Pick by Done.
//
// It returns ErrNotFound if no instance was ever registered, ErrUnavailable if there is no endpoint, an ErrRejected if the policy forbids the request now, and ErrClosed.
func (s *Service) Pick(ctx context.Context, req Request, tried ...*Endpoint) (Pick, error) {
	if s.view.Load() == nil {
		if err := s.Ready(ctx); err != nil {
			return Pick{}, err
		}
	}
	s.complete(ctx, &req)
	p, err := s.pick(&req, nil, tried)
	return p, s.unrouted(&req, err)
}

// probeTime limits a probe. A later answer is too old to be useful.
const probeTime = 100 * time.Millisecond

// maxProbing is how many probes of a service are on their way at most.
const maxProbing = 64
