package oshttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/internal/sanitize"
	"github.com/go-os/go-os/internal/serverload"
)

// pools holds the connections to the endpoints of one service, each with a pool of its own. It is the router.Prober of the service.
type pools struct {
	route   *route // for the instances
	service *router.Service
	probe   *http.Request

	instances sync.Map // of *instance by *router.Endpoint

	generation atomic.Uint64
	mu         sync.Mutex // held while the endpoints that are gone are removed
}

func newPools(s *Services, key routeKey) *pools {
	p := &pools{route: newRoute(s, key), service: s.opts.Router.Service(key.service, key.scheme)}
	p.probe = &http.Request{
		Method: http.MethodGet, Host: key.service, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		URL: &url.URL{Scheme: key.scheme, Host: key.service, Path: serverload.ProbePath},
	}
	p.service.SetProber(p)
	return p
}

// pools returns the connections to a service.
func (s *Services) pools(service, scheme string) *pools {
	key := routeKey{service, scheme}
	if p, ok := s.routed.Load(key); ok {
		return p.(*pools)
	}
	s.routing.Lock()
	defer s.routing.Unlock()
	if p, ok := s.routed.Load(key); ok {
		return p.(*pools)
	}
	p := newPools(s, key)
	s.routed.Store(key, p)
	return p
}

// of returns the connections to an endpoint. A new process, or one with a new address, is another endpoint.
func (p *pools) of(e *router.Endpoint) *instance {
	if i, ok := p.instances.Load(e); ok {
		return i.(*instance)
	}
	i, _ := p.instances.LoadOrStore(e, newInstance(p.route, e.ID(), e.Address()))
	return i.(*instance)
}

// update closes the idle connections to the endpoints that are gone.
func (p *pools) update() {
	endpoints, generation := p.service.Endpoints()
	if generation == p.generation.Load() || !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	p.generation.Store(generation)
	present := make(map[any]bool, len(endpoints))
	for _, e := range endpoints {
		present[e] = true
	}
	p.instances.Range(func(e, i any) bool {
		if !present[e] {
			p.instances.Delete(e)
			i.(*instance).transport.CloseIdleConnections()
		}
		return true
	})
}

func (p *pools) closeIdle() {
	p.instances.Range(func(_, i any) bool {
		i.(*instance).transport.CloseIdleConnections()
		return true
	})
}

// Probe implements router.Prober. The probe takes a connection of the endpoint's pool: it measures that endpoint, and leaves a connection for
// the requests that follow. It is neither traced nor measured.
func (p *pools) Probe(ctx context.Context, e *router.Endpoint) (router.Load, error) {
	to := p.of(e)
	r := p.probe.WithContext(ctx)
	r.Header = make(http.Header, 2)
	to.named.set(r.Header)
	res, err := to.transport.RoundTrip(r)
	if err != nil {
		return router.Load{}, err
	}
	discard(res)
	load := takeLoad(res.Header)
	switch {
	case res.StatusCode == http.StatusMisdirectedRequest && res.Header.Get(misdirectedHeader) == p.route.service:
		p.refuse(ctx, e)
		return router.Load{}, fmt.Errorf("%w: another server has the address of the instance", router.ErrUnavailable)
	case res.StatusCode == http.StatusOK && load.Known:
		return load, nil
	case res.StatusCode >= http.StatusInternalServerError && res.StatusCode != http.StatusNotImplemented:
		return router.Load{}, fmt.Errorf("%w: the probe was answered with %s", router.ErrUnavailable, res.Status)
	}
	return router.Load{}, fmt.Errorf("%w: the server answers no probes: %s without %s", errors.ErrUnsupported, res.Status, inFlightHeader)
}

// refuse takes an endpoint out that has refused a request as misdirected.
func (p *pools) refuse(ctx context.Context, e *router.Endpoint) {
	if e.Refuse() {
		p.route.services.misdirected.Emit(ctx,
			serviceAttr.String(sanitize.Text(p.route.service, maxName)), instanceAttr.String(sanitize.Text(e.ID(), maxName)))
	}
}

// takeLoad removes the server's report from a header, and returns it. A handler may relay the response, and its client would take the load
// for that of the handler's server.
func takeLoad(h http.Header) router.Load {
	inFlight, latency := first(h[inFlightHeader]), first(h[latencyHeader])
	if inFlight == "" {
		return router.Load{}
	}
	delete(h, inFlightHeader)
	delete(h, latencyHeader)
	r, ok := serverload.Parse(inFlight, latency)
	return router.Load{Known: ok, InFlight: r.InFlight, Latency: r.Latency}
}
