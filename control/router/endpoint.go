package router

import (
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router/internal/balance"
	"github.com/go-os/go-os/control/router/internal/breaker"
	"github.com/go-os/go-os/control/router/internal/health"
	"github.com/go-os/go-os/control/router/internal/placement"
	"github.com/go-os/go-os/control/router/statistics"
)

// Endpoint is one process of a service at one address. What was learnt about it survives ten minutes of absence.
type Endpoint struct {
	service  *Service
	key      endpointKey
	instance atomic.Pointer[discovery.Instance]
	state    *balance.Endpoint
	target   *health.Target
	breaker  atomic.Pointer[breaker.Breaker] // nil if there is none
	limit    breaker.Concurrency
	rate     atomic.Pointer[breaker.RateLimit] // nil if there is none
	refused  atomic.Pointer[refusal]
	failing  atomic.Bool // the last result was a fault of the path
	counts   endpointCounts
	stats    *statistics.Endpoint // nil if nothing is counted by method

	born time.Duration // when it was first in a table
	seen time.Duration // when it was last in a table; service.mu guards it
}

type endpointKey struct{ id, address, incarnation string }

// refusal is why an endpoint gets no requests: it has said that it is not the instance.
type refusal struct {
	record *discovery.Instance
	until  time.Duration
}

// refusalTime is how long an endpoint gets no requests after it has refused one, unless its record changes.
const refusalTime = 30 * time.Second

// retention is how long an absent endpoint is remembered.
const retention = 10 * time.Minute

func newEndpoint(s *Service, key endpointKey, now time.Duration) *Endpoint {
	e := &Endpoint{service: s, key: key, state: balance.NewEndpoint(now), born: now}
	e.state.Identify(placement.KeyHash(key.id + "\x00" + key.address))
	e.target = s.monitor.Track(now, health.Key{ID: key.id, Address: key.address}, key.incarnation)
	e.obey(now, nil, s.document)
	return e
}

// Instance returns the instance as the registry shows it now. Do not change it.
func (e *Endpoint) Instance() *discovery.Instance { return e.instance.Load() }

// ID returns the ID of the instance.
func (e *Endpoint) ID() string { return e.key.id }

// Address returns the address for the protocol.
func (e *Endpoint) Address() string { return e.key.address }

// Connected records whether a connection to the endpoint was made outside of a request, as gRPC does. A failure counts as a GatewayFault. A
// success shows nothing about requests: it ends the hold of the instance alone.
func (e *Endpoint) Connected(err error) {
	if err != nil {
		e.judge(e.service.router.now(), health.GatewayFault)
		return
	}
	e.report(health.Success)
}

// judge records a result for the ejection of the endpoint.
func (e *Endpoint) judge(now time.Duration, result health.Result) {
	if e.target.Record(now, result) {
		e.service.dirty.Store(true)
	}
	e.report(result)
}

// report tells the resolver when the path to the endpoint fails, and when it works again: that ends the hold of a dead instance.
func (e *Endpoint) report(result health.Result) {
	switch {
	case result == health.GatewayFault:
		e.failing.Store(true)
		e.service.router.resolver.Report(e.service.key.name, e.key.id, false)
	case result == health.Success && e.failing.Load():
		e.failing.Store(false)
		e.service.router.resolver.Report(e.service.key.name, e.key.id, true)
	}
}

// Refuse takes the endpoint out for 30 seconds, or until its record changes: it has said that it is not this instance of the service. It is
// used nevertheless if there is no other. Refuse reports whether it was in use.
func (e *Endpoint) Refuse() bool {
	now := e.service.router.now()
	if e.refusing(now) {
		return false
	}
	e.refused.Store(&refusal{e.instance.Load(), now + refusalTime})
	e.service.dirty.Store(true)
	return true
}

// refusing reports whether the endpoint gets no requests since it refused one.
func (e *Endpoint) refusing(now time.Duration) bool {
	r := e.refused.Load()
	return r != nil && now < r.until && sameRecord(r.record, e.instance.Load())
}

func (e *Endpoint) draining() bool { return e.Instance().State == discovery.Draining }
