package router

import (
	"context"
	"errors"
	"time"

	"github.com/go-os/go-os/internal/backoff"
)

// Do sends a request with the retries and hedges of the service's policy, and returns the last value and outcome.
//
// The function send makes one attempt: it picks an endpoint by Attempt.Pick or Attempt.PickAmong, and sends the request with the given
// context. It returns the outcome, including Outcome.Err. If it returns Outcome.Open, an answer is still being read: the caller of Do must
// call Attempt.Done at its end. Do ends all other attempts itself. A hedged request has two attempts in goroutines of their own; a panic in
// one of them continues in the caller of Do. Do calls drop, if it is not nil, for each value that it does not return, such as the answer of
// an attempt that lost. It does so in another goroutine, and does not wait for it.
//
// A failed attempt is repeated at another endpoint
//
//   - if it was not sent (Outcome.Unsent), or the request is Idempotent and the outcome is a GatewayFault, an Overload or a Timeout,
//   - unless it is Outcome.Final, a Stream, in a context with [WithoutRetries], or the server has forbidden it (Outcome.Pushback),
//   - if the budget allows it, there is another endpoint, the server asks for a wait of ten seconds at most, and the time left is at least
//     the median latency of the service.
func Do[T any](ctx context.Context, s *Service, req Request, send func(context.Context, *Attempt) (T, Outcome), drop func(T)) (T, Outcome) {
	if drop == nil {
		drop = func(T) {}
	}
	d := doer[T]{call: newCall(ctx, s, req), send: send, drop: drop}
	r := d.run()
	if spare := d.call.fallback(ctx, r.outcome); spare != nil {
		value, o := Do(WithoutRetries(ctx), spare, req, send, drop)
		if !o.rejected() {
			r.attempt.Done(r.outcome)
			d.call.end()
			go drop(r.value)
			return value, o
		}
	}
	d.call.finish(r.attempt, r.outcome)
	return r.value, r.outcome
}

// doer runs a call with values of one type.
type doer[T any] struct {
	call *call
	send func(context.Context, *Attempt) (T, Outcome)
	drop func(T)
}

// result is what an attempt returned.
type result[T any] struct {
	attempt *Attempt
	value   T
	outcome Outcome
	panic   any
}

// run makes attempts until one ends the call, and returns its result.
func (d *doer[T]) run() result[T] {
	wait := backoff.Backoff{First: d.call.policy.retry.Wait, Longest: d.call.policy.retry.Longest}
	var before Outcome
	for {
		r := d.attempt()
		if before.Err != nil && r.outcome.rejected() {
			r.outcome = before // it tells more than that there was no other endpoint
		}
		before = r.outcome
		pause, cost, again := d.call.again(r.outcome, &wait)
		if !again {
			return r
		}
		r.attempt.Done(r.outcome)
		go d.drop(r.value)
		if pause > 0 && backoff.Sleep(d.call.ctx, pause) != nil {
			cost.Return()
			return result[T]{attempt: r.attempt, outcome: d.call.interrupted(r.outcome)}
		}
		d.call.service.retried()
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
	returned := false
	defer func() {
		if !returned { // a panic, or the end of the goroutine
			a.Done(Outcome{Kind: Neutral})
			d.call.end()
		}
	}()
	value, o := d.send(ctx, a)
	returned = true
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
			if running > 0 && r.panic == nil && (r.outcome.rejected() || d.call.mayRepeat(r.outcome)) {
				r.attempt.Done(r.outcome)
				go d.drop(r.value)
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

// errExited is the panic of an attempt that has ended its goroutine.
var errExited = errors.New("router: the function send has ended its goroutine by runtime.Goexit")

// enter makes one attempt of a race.
func (d *doer[T]) enter(ctx context.Context, a *Attempt, results chan<- result[T]) {
	r := result[T]{attempt: a, panic: errExited}
	defer func() {
		if p := recover(); p != nil {
			r.panic = p
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
