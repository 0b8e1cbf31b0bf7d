package router

import (
	"context"
	"slices"
	"sync"
)

// Do sends a request with the retries and hedges of the service's policy, and returns the last value and outcome.
//
// The function send makes one attempt: it picks an endpoint by Attempt.Pick or Attempt.PickAmong and sends the request with the given
// context, which Do ends when the attempt has lost or is over. It returns the outcome, including Outcome.Err. If it returns Outcome.Open, an
// answer is still being read: its caller must call Attempt.Done at the end of the answer. Do ends all other attempts itself.
// Hedged attempts call send from several goroutines at once. Do calls drop for each value that it does not return, such as the answer of a
// hedge that lost; it may be nil.
//
// A failed attempt is repeated at another endpoint if the request is Idempotent or was not sent (Outcome.Unsent), the budget allows it, the
// context is not marked by [WithoutRetries], and the time that is left suffices.
func Do[T any](ctx context.Context, s *Service, req Request, send func(context.Context, *Attempt) (T, Outcome), drop func(T)) (T, Outcome) {
	c := &call{service: s, request: req}
	a := c.attempt()
	value, outcome := send(ctx, a)
	if !outcome.Open {
		a.Done(outcome)
	}
	_ = drop
	return value, outcome
}

// call is one request of Do.
type call struct {
	service *Service
	request Request

	mu       sync.Mutex
	tried    []*Endpoint
	attempts int
}

func (c *call) attempt() *Attempt {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts++
	return &Attempt{call: c, number: c.attempts}
}

// Attempt is one attempt of Do.
type Attempt struct {
	call   *call
	number int
	pick   Pick
	cancel context.CancelFunc
}

// Number returns 1 for the first attempt of the request, 2 for the second.
func (a *Attempt) Number() int { return a.number }

// Picked returns the last Pick of the attempt; the zero Pick if there is none.
func (a *Attempt) Picked() Pick { return a.pick }

// Pick chooses an endpoint that the request has not been sent to. It is Service.Pick.
func (a *Attempt) Pick(ctx context.Context) (Pick, error) {
	p, err := a.call.service.Pick(ctx, a.call.request, a.call.avoid()...)
	return a.picked(p, err)
}

// PickAmong chooses an endpoint of a selection that the request has not been sent to. It never blocks. An attempt that picks again, because
// the endpoint could not be used after all, ends the earlier Pick without an effect.
func (a *Attempt) PickAmong(x *Selection) (Pick, error) {
	p, err := x.Pick(a.call.request, a.call.avoid()...)
	return a.picked(p, err)
}

func (a *Attempt) picked(p Pick, err error) (Pick, error) {
	a.pick.Done(Outcome{Kind: Neutral})
	a.pick = p
	if err == nil {
		a.call.mu.Lock()
		a.call.tried = append(a.call.tried, p.endpoint)
		a.call.mu.Unlock()
	}
	return p, err
}

func (c *call) avoid() []*Endpoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.tried)
}

// Done ends the attempt, its Pick and its context. Only the first call has an effect. Do calls it unless the outcome was Open.
func (a *Attempt) Done(o Outcome) {
	a.pick.Done(o)
	if a.cancel != nil {
		a.cancel()
	}
}

type withoutRetries struct{}

// WithoutRetries returns a context whose requests are neither repeated nor hedged. Servers set it for requests that are retries themselves,
// so that retries do not multiply along a chain of services.
func WithoutRetries(ctx context.Context) context.Context {
	return context.WithValue(ctx, withoutRetries{}, true)
}

// RetriesAllowed reports whether the requests of a context may be repeated.
func RetriesAllowed(ctx context.Context) bool { return ctx.Value(withoutRetries{}) == nil }

// Prober asks an endpoint for its load. Middleware provides one: Service.SetProber.
type Prober interface {
	// Probe returns the present load of the endpoint. It returns errors.ErrUnsupported if the endpoint does not answer probes.
	Probe(ctx context.Context, e *Endpoint) (Load, error)
}
