package router

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/go-os/go-os/control/router/internal/breaker"
	"github.com/go-os/go-os/internal/backoff"
)

// call is one request of Do.
type call struct {
	service *Service
	policy  *policy
	request Request
	ctx     context.Context
	cancel  context.CancelFunc // of the whole call; nil if it has no time limit of its own

	mu       sync.Mutex
	tried    []*Endpoint
	space    [MaxAttempts]*Endpoint
	pool     *pool // of the last pick
	attempts int
	counted  bool // for the budget
}

func newCall(ctx context.Context, s *Service, req Request) *call {
	c := &call{service: s, policy: s.policy(), request: req, ctx: ctx}
	c.tried = c.space[:0]
	s.complete(ctx, &c.request)
	if limit := c.policy.Timeout; limit > 0 && !req.Stream {
		c.ctx, c.cancel = context.WithTimeout(ctx, limit)
	}
	return c
}

// attempt returns the next attempt.
func (c *call) attempt(hedge bool) *Attempt {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts++
	return &Attempt{call: c, number: c.attempts, hedge: hedge}
}

// maxPause is the longest wait before a retry that a server can ask for. A caller without a deadline must not hang for longer.
const maxPause = 10 * time.Second

// again reports whether the request is repeated after an outcome, the wait before, and what that costs.
func (c *call) again(o Outcome, wait *backoff.Backoff) (pause time.Duration, cost breaker.Token, ok bool) {
	if !c.mayRepeat(o) || !c.mayTry() {
		return 0, cost, false
	}
	pause = max(o.Pushback, 0)
	if !o.Unsent {
		pause = max(pause, wait.Next())
	}
	if pause > maxPause || !c.timeFor(pause) {
		return 0, cost, false
	}
	if cost, ok = c.service.budget().Withdraw(c.service.router.now()); !ok {
		c.service.refusedRetry()
		return 0, cost, false
	}
	return pause, cost, true
}

// finish ends the call. An open answer keeps the context of the call until its attempt is done.
func (c *call) finish(a *Attempt, o Outcome) {
	if !c.counted && o.rejected() {
		_ = c.service.unrouted(&c.request, o.Err)
	}
	if o.Open {
		a.release.Store(&c.cancel)
		return
	}
	a.Done(o)
	c.end()
}

// end ends the context of the call.
func (c *call) end() {
	if c.cancel != nil {
		c.cancel()
	}
}

// interrupted returns the outcome of a call whose context ended before a retry.
func (c *call) interrupted(o Outcome) Outcome {
	if o.Err == nil {
		o.Err = context.Cause(c.ctx)
	}
	o.Open = false
	return o
}

// mayRepeat reports whether the outcome and the request allow a repetition.
func (c *call) mayRepeat(o Outcome) bool { return c.ctx.Err() == nil && c.repeatable(o) }

// repeatable is mayRepeat without the time of the call.
func (c *call) repeatable(o Outcome) bool {
	switch {
	case o.Final, o.Pushback < 0, o.Kind == Success, c.request.Stream && !o.Unsent:
		return false
	case o.Unsent:
		return true
	}
	return c.request.Idempotent && (o.Kind == GatewayFault || o.Kind == Overload || o.Kind == Timeout)
}

// mayTry reports whether there may be another attempt.
func (c *call) mayTry() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.attempts < c.policy.retry.Attempts && RetriesAllowed(c.ctx) && c.another()
}

// another reports whether there is an endpoint that the request was not sent to. c.mu is held.
func (c *call) another() bool {
	for p := c.pool; p != nil; p = p.wide {
		if slices.ContainsFunc(p.endpoints, func(e *Endpoint) bool { return !slices.Contains(c.tried, e) }) {
			return true
		}
	}
	return false
}

// timeFor reports whether the time left suffices for a wait and an attempt of median length.
func (c *call) timeFor(wait time.Duration) bool {
	deadline, ok := c.ctx.Deadline()
	return !ok || time.Until(deadline) >= wait+c.service.quantile(0.5)
}

// hedgeAfter returns when a second attempt is due, if the first one may have one.
func (c *call) hedgeAfter() (time.Duration, bool) {
	h := c.policy.Hedge
	if !h.on() || !c.request.Hedgeable || !c.request.Idempotent || c.request.Stream || c.attempts > 0 || !RetriesAllowed(c.ctx) {
		return 0, false
	}
	after := h.After
	if h.Quantile > 0 {
		slow := c.service.quantile(h.Quantile)
		if slow == 0 {
			return 0, false // too few requests to know
		}
		after = max(after, slow)
	}
	return after, true
}

// hedge returns the second attempt, if there may be one.
func (c *call) hedge() *Attempt {
	if c.ctx.Err() != nil || !c.mayTry() || !c.timeFor(0) {
		return nil
	}
	if _, ok := c.service.budget().Withdraw(c.service.router.now()); !ok {
		c.service.refusedRetry()
		return nil
	}
	return c.attempt(true)
}

// fallback returns the service that gets the request after this outcome, or nil.
func (c *call) fallback(ctx context.Context, o Outcome) *Service {
	name := c.policy.Fallback
	if name == "" || name == c.service.key.name || ctx.Err() != nil || !RetriesAllowed(c.ctx) {
		return nil
	}
	if !o.rejected() && !c.repeatable(o) {
		return nil
	}
	c.service.fellBack()
	return c.service.router.Service(name, c.service.key.protocol)
}

type withoutRetries struct{}

// WithoutRetries returns a context whose requests are neither repeated nor hedged. Servers set it for requests that are retries themselves,
// so that retries do not multiply along a chain of services.
func WithoutRetries(ctx context.Context) context.Context {
	return context.WithValue(ctx, withoutRetries{}, true)
}

// RetriesAllowed reports whether the requests of a context may be repeated.
func RetriesAllowed(ctx context.Context) bool { return ctx.Value(withoutRetries{}) == nil }
