package router

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/control/router/internal/balance"
	"github.com/go-os/go-os/control/router/internal/breaker"
)

// guards decide whether a request to a service may be sent at all, and hold what a change of policy must not lose.
type guards struct {
	balancer atomic.Pointer[balance.Balancer]
	probing  bool                            // the balancer is for a service with probes; service.mu guards it
	breaker  atomic.Pointer[breaker.Breaker] // nil if there is none, as below
	throttle atomic.Pointer[breaker.Throttle]
	rate     atomic.Pointer[breaker.RateLimit]
	keyRate  atomic.Pointer[breaker.KeyedRateLimit]
	budget   atomic.Pointer[breaker.Budget]
	limit    breaker.Concurrency
}

// obey puts a policy in force. The policy was validated, so that no part of it can fail. s.mu is held.
func (s *Service) obey(now time.Duration, p *policy) {
	before := s.document
	if before == p && s.guards.probing == (s.prober.Load() != nil) {
		return
	}
	s.document = p
	g := &s.guards
	if probing := s.prober.Load() != nil; before == nil || before.Balance != p.Balance || g.probing != probing {
		g.probing = probing
		g.balancer.Store(balance.New(p.Balance.config(probing)))
	}
	if before == nil || before.Ejection != p.Ejection || before.SlowStart != p.SlowStart {
		s.monitor.SetConfig(p.health(s.healthChanged))
	}
	if before == nil || before.Breaker != p.Breaker {
		reconfigure(now, &g.breaker, p.Breaker.on(), p.Breaker.config(s.breakerChanged), breaker.New)
	}
	if before == nil || before.Throttle != p.Throttle {
		reconfigure(now, &g.throttle, p.Throttle.on(), p.Throttle.config(), breaker.NewThrottle)
	}
	if before == nil || before.retry != p.retry {
		reconfigure(now, &g.budget, true, p.retry.config(), breaker.NewBudget)
	}
	if before == nil || before.Limits != p.Limits {
		s.limitTo(now, p.Limits)
	}
	for _, e := range s.endpoints {
		e.obey(now, before, p)
	}
}

// limitTo puts the limits of a policy in force.
func (s *Service) limitTo(now time.Duration, l Limits) {
	g := &s.guards
	reconfigure(now, &g.rate, l.Rate > 0, breaker.RateConfig{PerSecond: l.Rate, Burst: l.Burst}, breaker.NewRateLimit)
	keys := breaker.KeyedConfig{RateConfig: breaker.RateConfig{PerSecond: l.KeyRate, Burst: l.KeyBurst}}
	reconfigure(now, &g.keyRate, l.KeyRate > 0, keys, breaker.NewKeyedRateLimit)
	_ = g.limit.SetLimit(l.Concurrent)
}

// obey puts a policy in force for an endpoint.
func (e *Endpoint) obey(now time.Duration, before, p *policy) {
	if before == nil || before.EndpointBreaker != p.EndpointBreaker {
		reconfigure(now, &e.breaker, p.EndpointBreaker.on(), p.EndpointBreaker.config(e.breakerChanged), breaker.New)
	}
	if before != nil && before.Limits == p.Limits {
		return
	}
	rate := breaker.RateConfig{PerSecond: p.Limits.EndpointRate, Burst: p.Limits.EndpointBurst}
	reconfigure(now, &e.rate, p.Limits.EndpointRate > 0, rate, breaker.NewRateLimit)
	_ = e.limit.SetLimit(p.Limits.EndpointConcurrent)
}

// reconfigure makes, changes or removes a guard. One that remains keeps its state.
func reconfigure[C, T any, G interface {
	*T
	SetConfig(time.Duration, C) error
}](now time.Duration, at *atomic.Pointer[T], on bool, config C, create func(C) (*T, error)) {
	switch present := at.Load(); {
	case !on:
		at.Store(nil)
	case present != nil:
		_ = G(present).SetConfig(now, config)
	default:
		created, _ := create(config)
		at.Store(created)
	}
}

// rejections are the errors of a service that need no building.
type rejections struct{ open, throttled, limited error }

func newRejections(service string) rejections {
	of := func(class error) error {
		return &Error{Op: "pick", Service: service, Err: &rejection{class}}
	}
	return rejections{open: of(ErrOpen), throttled: of(ErrThrottled), limited: of(ErrLimited)}
}

// rejection is an ErrRejected of a more specific class.
type rejection struct{ class error }

// Error implements error.
func (r *rejection) Error() string { return r.class.Error() + ": " + ErrRejected.Error() }

// Unwrap returns both errors.
func (r *rejection) Unwrap() []error { return []error{r.class, ErrRejected} }

// rejected reports whether the client itself has ended an attempt before anything was sent: by policy, or for want of an endpoint.
func (o *Outcome) rejected() bool {
	var e *Error
	return o.Kind == Neutral && errors.As(o.Err, &e)
}

// held is what a pick gives back at its end.
type held struct {
	permit   breaker.Permit // of the service's breaker
	endpoint breaker.Permit // of the endpoint's breaker
	limits   uint8          // places of limits: heldService, heldEndpoint
}

const (
	heldService = 1 << iota
	heldEndpoint
)

// admit reports whether a request may be sent, and takes what it needs for that. Requests that were sent before a limit was set do not count
// for it.
func (s *Service) admit(now time.Duration, t *table, req *Request, first bool) (h held, err error) {
	g := &s.guards
	if first {
		if err := s.ration(now, req); err != nil {
			return h, err
		}
	}
	if throttle := g.throttle.Load(); throttle != nil && !throttle.Allow(now) {
		return h, s.reject(reasonThrottled, s.errors.throttled)
	}
	if t.policy.Limits.Concurrent > 0 {
		if !g.limit.Acquire() {
			return h, s.reject(reasonConcurrent, s.errors.limited)
		}
		h.limits = heldService
	}
	if b := g.breaker.Load(); b != nil {
		var ok bool
		if h.permit, ok = b.Allow(now); !ok {
			h.release(s, nil)
			return h, s.reject(reasonOpen, s.errors.open)
		}
	}
	return h, nil
}

// release gives the places of limits back.
func (h *held) release(s *Service, e *Endpoint) {
	if h.limits&heldService != 0 {
		s.guards.limit.Release()
	}
	if h.limits&heldEndpoint != 0 {
		e.limit.Release()
	}
}

// ration applies the rate limits. Retries have a budget of their own.
func (s *Service) ration(now time.Duration, req *Request) error {
	if l := s.guards.rate.Load(); l != nil {
		if wait, ok := l.Allow(now); !ok {
			return s.limited(reasonRate, wait)
		}
	}
	if l := s.guards.keyRate.Load(); l != nil && req.Key != "" {
		if wait, ok := l.Allow(now, req.Key); !ok {
			return s.limited(reasonKeyRate, wait)
		}
	}
	return nil
}

// limited returns the error of a request over a rate.
func (s *Service) limited(reason int, wait time.Duration) error {
	return s.reject(reason, &Error{Op: "pick", Service: s.key.name, Err: &rejection{ErrLimited}, RetryAfter: wait})
}

// acquire takes a place at the endpoint, if it has limits.
func (h *held) acquire(now time.Duration, t *table, e *Endpoint) bool {
	limited := t.policy.Limits.EndpointConcurrent > 0
	if limited && !e.limit.Acquire() {
		return false
	}
	if rate := e.rate.Load(); rate != nil {
		if _, ok := rate.Allow(now); !ok {
			if limited {
				e.limit.Release()
			}
			return false
		}
	}
	if limited {
		h.limits |= heldEndpoint
	}
	if b := e.breaker.Load(); b != nil {
		h.endpoint, _ = b.Allow(now) // an open one has ejected the endpoint, as far as that is possible
	}
	return true
}
