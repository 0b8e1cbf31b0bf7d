package router

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/internal/backoff"
)

// Do sends a request with the retries and hedges of the service's policy, and returns the last value and outcome.
//
// The function send makes one attempt: it picks an endpoint by Attempt.Pick or Attempt.PickAmong, and sends the request with the given
// context. It returns the outcome, including Outcome.Err. If it returns Outcome.Open, an answer is still being read: the caller of Do must
// call Attempt.Done at its end. Do ends all other attempts itself. A hedged request has two attempts in goroutines of their own; a panic in
// one of them continues in the caller of Do. Do calls drop, if it is not nil, for each value that it does not return, such as the answer of
// an attempt that lost.
//
// A failed attempt is repeated at another endpoint
//
//   - if it was not sent (Outcome.Unsent), or the request is Idempotent and the outcome is a GatewayFault, an Overload or a Timeout,
//   - unless it is Outcome.Final, a Stream, in a context with [WithoutRetries], or the server has forbidden it (Outcome.Pushback),
//   - if the budget allows it, there is another endpoint, and the time left is at least the median latency of the service.
func Do[T any](ctx context.Context, s *Service, req Request, send func(context.Context, *Attempt) (T, Outcome), drop func(T)) (T, Outcome) {
	if drop == nil {
		drop = func(T) {}
	}
	d := doer[T]{call: newCall(ctx, s, req), send: send, drop: drop}
	value, o := d.run()
	if fallback := d.call.fallback(o); fallback != nil {
		d.last.Done(o)
		drop(value)
		return Do(WithoutRetries(ctx), fallback, req, send, drop)
	}
	return value, o
}

// doer runs a call with values of one type.
type doer[T any] struct {
	call *call
	send func(context.Context, *Attempt) (T, Outcome)
	drop func(T)
	last *Attempt
}

// result is what an attempt returned.
type result[T any] struct {
	attempt *Attempt
	value   T
	outcome Outcome
	panic   any
}

// run makes attempts until one ends the call.
func (d *doer[T]) run() (T, Outcome) {
	wait := backoff.Backoff{First: d.call.policy.retry.Wait, Longest: d.call.policy.retry.Longest}
	var before Outcome
	for {
		r := d.attempt()
		d.last = r.attempt
		if before.Err != nil && r.outcome.rejected() {
			r.outcome = before // it tells more than that there was no other endpoint
		}
		before = r.outcome
		pause, again := d.call.again(r.outcome, &wait)
		if !again {
			d.call.finish(r.attempt, r.outcome)
			return r.value, r.outcome
		}
		r.attempt.Done(r.outcome)
		d.drop(r.value)
		if pause > 0 && backoff.Sleep(d.call.ctx, pause) != nil {
			d.call.finish(r.attempt, r.outcome)
			var none T
			return none, d.call.interrupted(r.outcome)
		}
	}
}

// attempt makes one attempt, or two if the first one is slow.
func (d *doer[T]) attempt() result[T] {
	after, ok := d.call.hedgeAfter()
	if ok {
		return d.race(after)
	}
	a := d.call.attempt(false)
	return d.try(a.begin(), a)
}

// try makes one attempt in this goroutine.
func (d *doer[T]) try(ctx context.Context, a *Attempt) result[T] {
	value, o := d.send(ctx, a)
	return result[T]{attempt: a, value: value, outcome: a.end(o)}
}

// race makes an attempt, and a second one if there is no result after a while. The first result that needs no retry wins. The attempt that
// loses ends at once, as Neutral.
func (d *doer[T]) race(after time.Duration) result[T] {
	results := make(chan result[T], 2)
	first := d.call.attempt(false)
	go d.enter(first.begin(), first, results)
	timer := time.NewTimer(after)
	defer timer.Stop()
	var second *Attempt
	for running := 1; ; {
		select {
		case r := <-results:
			running--
			if running > 0 && r.panic == nil && d.call.mayRepeat(r.outcome) {
				r.attempt.Done(r.outcome)
				d.drop(r.value)
				continue // the other one may still work
			}
			d.lose(first, second, r.attempt, running, results)
			if r.panic != nil {
				panic(r.panic)
			}
			return r
		case <-timer.C:
			if second = d.call.hedge(); second != nil {
				running++
				go d.enter(second.begin(), second, results)
			}
		}
	}
}

// enter makes one attempt of a race.
func (d *doer[T]) enter(ctx context.Context, a *Attempt, results chan<- result[T]) {
	r := result[T]{attempt: a}
	defer func() {
		if r.panic = recover(); r.panic != nil {
			a.Done(Outcome{Kind: Neutral})
		}
		results <- r
	}()
	r = d.try(ctx, a)
}

// lose ends the attempt of a race that has lost, if there is one.
func (d *doer[T]) lose(first, second, winner *Attempt, running int, results <-chan result[T]) {
	if second != nil {
		d.call.service.hedged(winner == second)
	}
	if running == 0 {
		return
	}
	loser := first
	if winner == first {
		loser = second
	}
	loser.Done(Outcome{Kind: Neutral})
	go func() { d.drop((<-results).value) }()
}

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
}

func newCall(ctx context.Context, s *Service, req Request) *call {
	c := &call{service: s, policy: s.policy(), request: req, ctx: ctx}
	c.tried = c.space[:0]
	s.complete(ctx, &c.request)
	if limit := c.policy.Timeout; limit > 0 && !req.Stream {
		c.ctx, c.cancel = context.WithTimeout(ctx, limit)
	}
	s.budget().Request(s.router.now())
	return c
}

// attempt returns the next attempt.
func (c *call) attempt(hedge bool) *Attempt {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts++
	return &Attempt{call: c, number: c.attempts, hedge: hedge}
}

// again reports whether the request is repeated after an outcome, and the wait before.
func (c *call) again(o Outcome, wait *backoff.Backoff) (pause time.Duration, ok bool) {
	if !c.mayRepeat(o) || !c.mayTry() {
		return 0, false
	}
	pause = max(o.Pushback, 0)
	if !o.Unsent {
		pause = max(pause, wait.Next())
	}
	if !c.timeFor(pause) {
		return 0, false
	}
	if _, ok := c.service.budget().Withdraw(c.service.router.now()); !ok {
		c.service.refusedRetry()
		return 0, false
	}
	c.service.retried()
	return pause, true
}

// finish ends the call. An open answer keeps the context of the call until its attempt is done.
func (c *call) finish(a *Attempt, o Outcome) {
	if o.Open {
		a.release.Store(&c.cancel)
		return
	}
	a.Done(o)
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
func (c *call) mayRepeat(o Outcome) bool {
	switch {
	case o.Final, o.Pushback < 0, o.Kind == Success, c.request.Stream && !o.Unsent, c.ctx.Err() != nil:
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
	if !c.mayTry() || !c.timeFor(0) {
		return nil
	}
	if _, ok := c.service.budget().Withdraw(c.service.router.now()); !ok {
		c.service.refusedRetry()
		return nil
	}
	return c.attempt(true)
}

// fallback returns the service that gets the request after this outcome, or nil.
func (c *call) fallback(o Outcome) *Service {
	name := c.policy.Fallback
	if name == "" || name == c.service.key.name || o.Final && !o.rejected() || c.ctx.Err() != nil || !RetriesAllowed(c.ctx) {
		return nil
	}
	if !o.rejected() && !c.mayRepeat(o) {
		return nil
	}
	c.service.fellBack()
	return c.service.router.Service(name, c.service.key.protocol)
}

// Attempt is one attempt of Do.
type Attempt struct {
	call    *call
	number  int
	hedge   bool
	timer   *time.Timer
	cancel  context.CancelFunc
	late    atomic.Bool                        // the time of the attempt has passed
	release atomic.Pointer[context.CancelFunc] // ends the call's context with the attempt

	pick Pick        // call.mu guards it, and what follows
	own  []*Endpoint // of its earlier picks
	over bool
}

// Number returns 1 for the first attempt of the request, 2 for the second.
func (a *Attempt) Number() int { return a.number }

// Hedge reports whether the attempt runs beside an earlier one.
func (a *Attempt) Hedge() bool { return a.hedge }

// Service returns the service that the attempt goes to. It is another one than Do's in a fallback.
func (a *Attempt) Service() *Service { return a.call.service }

// Picked returns the last Pick of the attempt; the zero Pick if there is none.
func (a *Attempt) Picked() Pick {
	a.call.mu.Lock()
	defer a.call.mu.Unlock()
	return a.pick
}

// Pick chooses an endpoint that the request has not been sent to. It is Service.Pick.
func (a *Attempt) Pick(ctx context.Context) (Pick, error) {
	if err := a.call.service.Ready(ctx); err != nil {
		return Pick{}, err
	}
	return a.choose(nil)
}

// PickAmong chooses an endpoint of a selection that the request has not been sent to. It never waits. An attempt may pick again if the
// endpoint could not be used after all: the earlier Pick then ends as Neutral, and its endpoint is the last choice. It returns ErrClosed after
// Done.
func (a *Attempt) PickAmong(x *Selection) (Pick, error) { return a.choose(x) }

// choose picks an endpoint for the attempt.
func (a *Attempt) choose(x *Selection) (Pick, error) {
	c := a.call
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.over {
		return Pick{}, &Error{Op: "pick", Service: c.service.key.name, Err: fmt.Errorf("%w: the attempt is over", ErrClosed)}
	}
	before := a.pick
	before.Done(Outcome{Kind: Neutral})
	p, err := c.service.pick(&c.request, x, c.tried)
	if before.endpoint != nil && errors.Is(err, ErrUnavailable) {
		c.tried = slices.DeleteFunc(c.tried, func(e *Endpoint) bool { return e == before.endpoint || slices.Contains(a.own, e) })
		p, err = c.service.pick(&c.request, x, c.tried)
	}
	if err != nil {
		return p, err
	}
	a.pick, c.pool = p, p.pool
	if before.endpoint != nil { // only then own matters: most attempts pick once
		a.own = append(a.own, before.endpoint, p.endpoint)
	}
	if !slices.Contains(c.tried, p.endpoint) {
		c.tried = append(c.tried, p.endpoint)
	}
	return p, nil
}

// begin returns the context of the attempt.
func (a *Attempt) begin() context.Context {
	ctx, limit := a.call.ctx, a.call.policy.retry.Timeout
	if limit == 0 || a.call.request.Stream {
		if !a.call.policy.Hedge.on() {
			return ctx // nothing ends it but the call's context
		}
		limit = 0
	}
	ctx, a.cancel = context.WithCancel(ctx)
	if limit > 0 {
		a.timer = time.AfterFunc(limit, func() {
			a.late.Store(true)
			a.cancel()
		})
	}
	return ctx
}

// end returns the outcome of the attempt, whose answer has begun. The end of an attempt's own context is a timeout.
func (a *Attempt) end(o Outcome) Outcome {
	if a.timer != nil {
		a.timer.Stop()
	}
	if a.late.Load() && o.Kind == Neutral && a.call.ctx.Err() == nil {
		o.Kind = Timeout
	}
	return o
}

// Done ends the attempt, its Pick and its context. Only the first call has an effect. Do calls it unless the outcome was Open.
func (a *Attempt) Done(o Outcome) {
	if a == nil || !a.close() {
		return
	}
	a.pick.Done(o)
	if a.cancel != nil {
		a.cancel()
	}
	if release := a.release.Load(); release != nil && *release != nil {
		(*release)()
	}
}

// close ends the picks of the attempt, and reports whether this is the first call.
func (a *Attempt) close() bool {
	a.call.mu.Lock()
	defer a.call.mu.Unlock()
	first := !a.over
	a.over = true
	return first
}

type withoutRetries struct{}

// WithoutRetries returns a context whose requests are neither repeated nor hedged. Servers set it for requests that are retries themselves,
// so that retries do not multiply along a chain of services.
func WithoutRetries(ctx context.Context) context.Context {
	return context.WithValue(ctx, withoutRetries{}, true)
}

// RetriesAllowed reports whether the requests of a context may be repeated.
func RetriesAllowed(ctx context.Context) bool { return ctx.Value(withoutRetries{}) == nil }
