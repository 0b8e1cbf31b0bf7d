package router

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router/internal/balance"
	"github.com/go-os/go-os/control/router/internal/breaker"
	"github.com/go-os/go-os/control/router/internal/health"
	"github.com/go-os/go-os/control/router/internal/placement"
	"github.com/go-os/go-os/control/router/statistics"
)

// Pick is an endpoint that was chosen for one attempt. Copies are the same Pick. The zero Pick has no endpoint.
type Pick struct {
	endpoint *Endpoint
	ticket   balance.Ticket
	held     held
	pool     *pool
	method   statistics.Method
	reason   balance.Reason
}

// Endpoint returns the chosen endpoint; nil for the zero Pick.
func (p Pick) Endpoint() *Endpoint { return p.endpoint }

// Address returns the address of the endpoint; "" for the zero Pick.
func (p Pick) Address() string {
	if p.endpoint == nil {
		return ""
	}
	return p.endpoint.key.address
}

// Arm returns the arm of the split that the request belongs to, or "".
func (p Pick) Arm() string {
	if p.pool == nil {
		return ""
	}
	return p.pool.arm
}

// Reason returns why this endpoint was chosen, such as "least_cost", "cold" or "hash".
func (p Pick) Reason() string { return p.reason.String() }

// Answered records that the answer has begun. The latency is measured up to here, and the request remains in flight. Without Answered, it is
// measured up to Done.
func (p Pick) Answered() {
	if p.endpoint != nil {
		p.ticket.Answered(p.endpoint.service.router.now())
	}
}

// kinds are the outcomes in the words of the packages that learn from them. An overload is no failure of the endpoint's breaker, which would
// eject it.
var kinds = [...]struct {
	balance  balance.Outcome
	health   health.Result
	service  breaker.Result
	endpoint breaker.Result
	count    statistics.Outcome
}{
	Success:      {balance.Success, health.Success, breaker.Success, breaker.Success, statistics.Success},
	Fault:        {balance.Fault, health.Fault, breaker.Failure, breaker.Failure, statistics.Fault},
	GatewayFault: {balance.Fault, health.GatewayFault, breaker.Failure, breaker.Failure, statistics.Fault},
	Overload:     {balance.Overload, health.Overload, breaker.Failure, breaker.Neutral, statistics.Overload},
	Timeout:      {balance.Timeout, health.Timeout, breaker.Failure, breaker.Failure, statistics.Timeout},
	Neutral:      {balance.Neutral, health.Neutral, breaker.Neutral, breaker.Neutral, statistics.Dropped},
}

// Done records the outcome. It must be called for each Pick, at the end of the answer. Only the first call has an effect.
func (p Pick) Done(o Outcome) {
	if p.endpoint == nil {
		return
	}
	e := p.endpoint
	s := e.service
	now := s.router.now()
	kind := o.Kind
	if int(kind) >= len(kinds) {
		kind = Neutral
	}
	latency, first := p.ticket.Done(now, kinds[kind].balance)
	if !first {
		return
	}
	verdict := kind
	if kind == Timeout && latency < s.quantile(0.5) {
		verdict = Neutral // no endpoint could have answered in the time that the caller had left
	}
	as := &kinds[verdict]
	p.held.permit.Record(now, as.service, latency)
	p.held.endpoint.Record(now, as.endpoint, latency)
	p.held.release(s, e)
	if verdict != Neutral {
		e.judge(now, as.health)
		if t := s.guards.throttle.Load(); t != nil {
			t.Record(now, verdict != Overload)
		}
	}
	if o.Load.Known {
		e.state.Report(now, o.Load.InFlight, o.Load.Latency, false)
	}
	p.record(now, kind, latency)
}

// pick chooses an endpoint of the service, or of a selection.
func (s *Service) pick(req *Request, x *Selection, tried []*Endpoint) (Pick, error) {
	if s.router.closed() {
		return Pick{}, &Error{Op: "pick", Service: s.key.name, Err: ErrClosed}
	}
	now := s.router.now()
	t := s.table(now)
	if t == nil {
		return Pick{}, &Error{Op: "pick", Service: s.key.name, Err: fmt.Errorf("%w: call Ready first", ErrUnavailable)}
	}
	h, err := s.admit(now, t, req, len(tried) == 0)
	if err != nil {
		return Pick{}, err
	}
	from := t.poolFor(req)
	if x != nil {
		from = x.restrict(t, from)
	}
	p := Pick{held: h}
	if err := s.choose(now, t, from, req, tried, &p); err != nil {
		h.permit.Record(now, breaker.Neutral, 0)
		h.release(s, nil)
		return Pick{}, err
	}
	if s.stats != nil {
		p.method = s.stats.Method(req.Method)
	}
	p.ticket = p.endpoint.state.Begin(now, req.Stream)
	return p, nil
}

// maxTried is how many endpoints a pick passes over.
const maxTried = 16

// choose sets the endpoint of a pick to one of the pool that has room for a request.
func (s *Service) choose(now time.Duration, t *table, from *pool, req *Request, tried []*Endpoint, p *Pick) error {
	var space [maxTried]*balance.Endpoint
	avoid := balance.Tried(space[:0])
	for _, e := range tried {
		if len(avoid) < maxTried {
			avoid = append(avoid, e.state)
		}
	}
	balancer, key := s.guards.balancer.Load(), balance.Key{}
	if req.Key != "" && t.policy.Balance.Algorithm == ConsistentHash {
		key = balance.Key{Hash: placement.KeyHash(req.Key), Set: true}
	}
	for full := false; ; {
		n, why := balancer.Pick(now, from.set, key, avoid)
		switch {
		case n < 0 && from.wide != nil:
			from = from.wide
			continue
		case n < 0:
			return s.none(from, full)
		}
		if e := from.endpoints[n]; p.held.acquire(now, t, e) {
			s.probe(now, balancer, from, n)
			p.endpoint, p.pool, p.reason = e, from, why
			return nil
		}
		full = true
		if len(avoid) == maxTried {
			return s.scan(now, t, from, tried, p)
		}
		avoid = append(avoid, from.endpoints[n].state)
	}
}

// scan looks for an endpoint with room among all of a pool: nearly all are full.
func (s *Service) scan(now time.Duration, t *table, from *pool, tried []*Endpoint, p *Pick) error {
	start := rand.IntN(len(from.endpoints))
	for i := range from.endpoints {
		e := from.endpoints[(start+i)%len(from.endpoints)]
		if !slices.Contains(tried, e) && p.held.acquire(now, t, e) {
			p.endpoint, p.pool, p.reason = e, from, balance.Fallback
			return nil
		}
	}
	return s.none(from, true)
}

// none returns the error of a pool without an endpoint for a request.
func (s *Service) none(from *pool, full bool) error {
	var why string
	switch {
	case full:
		return s.reject(reasonEndpoints, s.errors.limited)
	case len(from.endpoints) > 0:
		why = fmt.Sprintf("all %d endpoints were tried", len(from.endpoints))
	case from.choice == placement.ChoseNone:
		why = "no endpoint that can be used matches the labels of the request"
	default:
		return s.empty()
	}
	return &Error{Op: "pick", Service: s.key.name, Err: fmt.Errorf("%w: %s", ErrUnavailable, why)}
}

// empty returns the error of a service without an endpoint.
func (s *Service) empty() error {
	snapshot, err := s.router.resolver.Lookup(s.router.background, s.key.name)
	var lookup *discovery.Error
	switch {
	case errors.As(err, &lookup):
		err = lookup.Err
	case err != nil:
	case len(snapshot.Instances) == 0:
		err = fmt.Errorf("%w: all instances have deregistered", ErrUnavailable)
	default:
		err = fmt.Errorf("%w: none of the %d instances has an address of the protocol %q and passes the filters",
			ErrUnavailable, len(snapshot.Instances), s.key.protocol)
	}
	return &Error{Op: "pick", Service: s.key.name, Err: err}
}

// probe sends the probes that a request causes.
func (s *Service) probe(now time.Duration, b *balance.Balancer, from *pool, picked int) {
	if s.prober.Load() == nil {
		return
	}
	for {
		n, ok := b.Probe(now, from.set, picked)
		if !ok || !s.startProbe(from.endpoints[n]) {
			return
		}
	}
}

// startProbe probes an endpoint in another goroutine, unless too many probes are on their way.
func (s *Service) startProbe(e *Endpoint) bool {
	prober := s.prober.Load()
	if prober == nil {
		return false
	}
	if s.probing.Add(1) > maxProbing {
		s.probing.Add(-1)
		return false
	}
	go s.probeOne(*prober, e)
	return true
}

// probeOne asks one endpoint for its load.
func (s *Service) probeOne(prober Prober, e *Endpoint) {
	defer s.probing.Add(-1)
	ctx, cancel := context.WithTimeout(s.router.background, probeTime)
	defer cancel()
	defer func() {
		if recover() != nil { // a probe is not worth the process
			s.counts.probes[probeFailed].Add(1)
		}
	}()
	load, err := prober.Probe(ctx, e)
	now := s.router.now()
	switch {
	case err == nil:
		e.state.Report(now, load.InFlight, load.Latency, true)
		s.counts.probes[probeAnswered].Add(1)
	case errors.Is(err, errors.ErrUnsupported):
		e.state.ProbeRefused(now)
		s.counts.probes[probeRefused].Add(1)
	default:
		s.counts.probes[probeFailed].Add(1)
	}
}

// Among returns the part of the endpoints that are given, such as those with a connection.
func (s *Service) Among(endpoints []*Endpoint) *Selection {
	x := &Selection{service: s, list: endpoints, only: make(map[*Endpoint]bool, len(endpoints))}
	for _, e := range endpoints {
		x.only[e] = true
	}
	return x
}

// Selection is a part of the endpoints of a service. It is safe for concurrent use.
type Selection struct {
	service *Service
	list    []*Endpoint
	only    map[*Endpoint]bool
	current atomic.Pointer[restricted]
}

// restricted holds the restricted pools of one table.
type restricted struct {
	of    *table
	pools *boundedPools
}

// Pick chooses an endpoint of the selection. It never waits. If none of them is in the pool of the request, it is one of the others: it fails
// only if all were tried or the policy rejects the request.
func (x *Selection) Pick(req Request, tried ...*Endpoint) (Pick, error) {
	return x.service.pick(&req, x, tried)
}

// restrict returns the part of a pool that the selection has.
func (x *Selection) restrict(t *table, p *pool) *pool {
	r := x.current.Load()
	if r == nil || r.of != t {
		r = &restricted{of: t, pools: newBoundedPools()}
		x.current.Store(r)
	}
	return r.pools.Get(p, x.part)
}

// part returns the endpoints of a pool that are in the selection. If there is none, it returns matching ones that the pool leaves out, such as
// ejected ones, else any, unless the labels of the request forbid that.
func (x *Selection) part(p *pool) *pool {
	part := &pool{arm: p.arm, table: p.table, choice: p.choice}
	for n, e := range p.endpoints {
		if x.only[e] {
			part.endpoints, part.weights = append(part.endpoints, e), append(part.weights, p.weights[n])
		}
	}
	if len(part.endpoints) == 0 {
		part.endpoints = filter(p.matching, func(e *Endpoint) bool { return x.only[e] })
	}
	if len(part.endpoints) == 0 && !p.strict {
		part.endpoints = x.list
		if p.arm != "" {
			part.arm = RestArm
		}
	}
	if len(part.endpoints) == 0 {
		part.choice = placement.ChoseNone
	}
	part.set = newSet(part.endpoints, part.weights)
	if p.wide != nil {
		part.wide = x.part(p.wide)
	}
	return part
}
