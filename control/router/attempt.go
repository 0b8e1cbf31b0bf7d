package router

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

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
	if !c.counted { // requests that were not sent earn no retries
		c.counted = true
		c.service.budget().Request(c.service.router.now())
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
		o.Err = &Error{Op: "attempt", Service: a.call.service.key.name, Err: fmt.Errorf("no answer within retry.timeout, %v: %w",
			a.call.policy.retry.Timeout, context.DeadlineExceeded)}
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
