// Package breaker protects a service from its callers: a circuit breaker, an adaptive throttle, a retry budget, and limits of concurrency
// and rate.
//
//	b, err := breaker.New(breaker.Config{Ratio: 0.5, MinVolume: 20})
//	…
//	permit, ok := b.Allow(now)
//	if !ok {
//		return errOpen
//	}
//	…
//	permit.Record(now, breaker.Success, latency)
//
// Everything here is pure. Nothing starts a goroutine, reads a clock or emits telemetry: each call takes the time as a duration since an
// arbitrary start, and randomness is a function in the configuration. A discrete-event simulator can therefore drive it. All types are safe
// for concurrent use. No call on a request's path allocates, but the first call of a KeyedRateLimit with a key.
package breaker

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Breaker is a circuit breaker. Closed, it allows everything and counts the results of a sliding window. It opens when the share of failures
// or of slow calls reaches a threshold, and then rejects for a while. Half-open, it allows a few trials, whose results close it or open it
// for twice as long.
//
// The half-open rule is that of failsafe-go's WithSuccessThresholdRatio: the breaker decides as soon as the remaining trials cannot change
// the decision. It differs in four things. Results of calls that began before the last transition count for nothing. At most Config.HalfOpen
// trials are in the air or answered, not only in the air. A trial without a result expires. Shares are exact, not rounded to a percent.
type Breaker struct {
	settings atomic.Pointer[Config]
	phase    atomic.Uint64 // the State in the low bits, and above them the number of transitions so far
	until    atomic.Int64  // when an open breaker becomes half-open
	window   *window

	rejected    atomic.Int64
	wouldReject atomic.Int64

	mu    sync.Mutex // guards what follows, and the writing of the fields above window
	opens int        // how often it has opened since it was last closed
	trial trial
}

// State is the state of a Breaker.
type State uint8

// The states of a Breaker.
const (
	Closed State = iota
	Open
	HalfOpen
)

// String returns closed, open or half_open.
func (s State) String() string {
	return [...]string{"closed", "open", "half_open", "invalid"}[min(s, 3)]
}

// Result is how a call ended.
type Result uint8

// The results of a call.
const (
	// Neutral says nothing about the service: the caller gave up, a hedge lost, a local limit rejected. It counts nowhere and gives a trial
	// back.
	Neutral Result = iota
	// Success is an answer of a healthy service.
	Success
	// Failure is the service's fault.
	Failure
)

// The reasons of transitions.
const (
	ReasonFailures     = "failure_ratio"
	ReasonSlowCalls    = "slow_call_ratio"
	ReasonOpenTimeOver = "open_time_over"
	ReasonTrialsFailed = "trials_failed"
	ReasonTrialsSlow   = "trials_slow"
	ReasonTrialsPassed = "trials_passed"
)

// What a Breaker's window counts.
const (
	kindTotal = iota
	kindFailed
	kindSlow
)

const (
	stateBits = 2
	stateMask = 1<<stateBits - 1
)

// buckets of a Breaker's window.
const buckets = 10

// New returns a closed Breaker, or fault.Invalid.
func New(c Config) (*Breaker, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Breaker{window: newWindow(c.Window, buckets, 0)}
	b.settings.Store(&c)
	return b, nil
}

// SetConfig changes the configuration, and keeps the state and the counts. An open breaker stays open as long as was decided when it opened.
// A half-open one begins its trials again.
func (b *Breaker) SetConfig(now time.Duration, c Config) error {
	c, err := c.withDefaults()
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settings.Store(&c)
	b.window.resize(c.Window, buckets, now)
	if b.state() == HalfOpen {
		b.trial.begin() // the results so far were counted towards another decision
	}
	return nil
}

// Permit allows one call. Record must follow, once. The zero Permit records nothing.
type Permit struct {
	breaker *Breaker
	phase   uint64
	round   uint32 // of the trials
	would   bool
}

// WouldReject reports whether the call is allowed only because the breaker observes.
func (p Permit) WouldReject() bool { return p.would }

// Allow reports whether a call may be made. A closed breaker costs one atomic load.
func (b *Breaker) Allow(now time.Duration) (Permit, bool) {
	phase := b.phase.Load()
	if State(phase&stateMask) == Closed {
		return Permit{breaker: b, phase: phase}, true
	}
	return b.allow(now, phase)
}

// allow is Allow for a breaker that was not closed.
func (b *Breaker) allow(now time.Duration, phase uint64) (Permit, bool) {
	if State(phase&stateMask) == Open && int64(now) < b.until.Load() {
		return b.reject()
	}
	permit, ok, moved := b.try(now)
	b.notify(moved)
	if !ok {
		return b.reject()
	}
	return permit, true
}

func (b *Breaker) reject() (Permit, bool) {
	if b.settings.Load().Observe {
		b.wouldReject.Add(1)
		return Permit{would: true}, true
	}
	b.rejected.Add(1)
	return Permit{}, false
}

// try takes a permit under the lock, and makes an open breaker half-open when its time is over.
func (b *Breaker) try(now time.Duration) (p Permit, ok bool, moved transition) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.state() {
	case Closed:
		return Permit{breaker: b, phase: b.phase.Load()}, true, moved
	case Open:
		if int64(now) < b.until.Load() {
			return p, false, moved
		}
		moved = b.move(HalfOpen, ReasonOpenTimeOver)
		b.trial.begin()
	}
	c := b.settings.Load()
	if !b.trial.grant(now, c) {
		return p, false, moved
	}
	return Permit{breaker: b, phase: b.phase.Load(), round: b.trial.round}, true, moved
}

// Record records how a call ended. The result of a call that was allowed before the last transition of the breaker counts for nothing.
// latency matters only if slow calls are counted.
func (p Permit) Record(now time.Duration, r Result, latency time.Duration) {
	b := p.breaker
	if b == nil || b.phase.Load() != p.phase {
		return
	}
	if State(p.phase&stateMask) == HalfOpen {
		b.notify(b.recordTrial(p, now, r, latency))
		return
	}
	if r == Neutral {
		return
	}
	c := b.settings.Load()
	b.window.advance(now)
	b.window.add(kindTotal, 1)
	if r == Failure {
		b.window.add(kindFailed, 1)
	}
	if c.slow(latency) {
		b.window.add(kindSlow, 1)
	}
	if b.exceeded(c) != "" {
		b.notify(b.trip(p.phase, now))
	}
}

// exceeded returns why the breaker must open, or "". It is quick while nothing fails.
func (b *Breaker) exceeded(c *Config) string {
	failed, slow := b.window.in(kindFailed), b.window.in(kindSlow)
	if failed == 0 && slow == 0 {
		return ""
	}
	total := b.window.in(kindTotal)
	switch {
	case total < int64(c.MinVolume):
		return ""
	case float64(failed) >= c.Ratio*float64(total):
		return ReasonFailures
	case c.SlowCall > 0 && float64(slow) >= c.SlowRatio*float64(total):
		return ReasonSlowCalls
	}
	return ""
}

// trip opens a closed breaker if it still must open.
func (b *Breaker) trip(phase uint64, now time.Duration) (moved transition) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase.Load() != phase {
		return moved
	}
	reason := b.exceeded(b.settings.Load())
	if reason == "" {
		return moved
	}
	return b.open(now, reason)
}

func (b *Breaker) recordTrial(p Permit, now time.Duration, r Result, latency time.Duration) (moved transition) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase.Load() != p.phase || b.trial.round != p.round {
		return moved
	}
	c := b.settings.Load()
	b.trial.record(now, r, c.slow(latency))
	switch to, reason := b.trial.decide(c); to {
	case Open:
		return b.open(now, reason)
	case Closed:
		b.opens = 0
		b.window.restart()
		return b.move(Closed, reason)
	}
	return moved
}

// open opens the breaker for the time of its settings, doubled for each time it has opened without being closed in between.
func (b *Breaker) open(now time.Duration, reason string) transition {
	c := b.settings.Load()
	b.until.Store(int64(now + c.openTime(b.opens)))
	b.opens++
	return b.move(Open, reason)
}

type transition struct {
	from, to State
	reason   string
}

// move changes the state, under the lock.
func (b *Breaker) move(to State, reason string) transition {
	phase := b.phase.Load()
	b.phase.Store((phase>>stateBits+1)<<stateBits | uint64(to))
	return transition{State(phase & stateMask), to, reason}
}

func (b *Breaker) state() State { return State(b.phase.Load() & stateMask) }

// notify calls the hook, without a lock.
func (b *Breaker) notify(t transition) {
	if changed := b.settings.Load().Changed; changed != nil && t.from != t.to {
		changed(t.from, t.to, t.reason)
	}
}

// State returns the state. An open breaker whose time is over is half-open.
func (b *Breaker) State(now time.Duration) State {
	state := b.state()
	if state == Open && int64(now) >= b.until.Load() {
		return HalfOpen
	}
	return state
}

// Counts are the numbers behind the state of a Breaker.
type Counts struct {
	Total, Failed, Slow int64         // results in the window; an open breaker keeps those that opened it until they are too old
	Trials              int           // results of trials, half-open
	Pending             int           // trials without a result, half-open
	Remaining           time.Duration // until an open breaker is half-open
	Rejected            int64         // calls rejected since New
	WouldReject         int64         // calls allowed only because the breaker observes, since New
}

// Counts returns the numbers behind the state.
func (b *Breaker) Counts(now time.Duration) Counts {
	b.window.advance(now)
	b.mu.Lock()
	defer b.mu.Unlock()
	c := Counts{
		Total:       b.window.in(kindTotal),
		Failed:      b.window.in(kindFailed),
		Slow:        b.window.in(kindSlow),
		Rejected:    b.rejected.Load(),
		WouldReject: b.wouldReject.Load(),
	}
	switch b.state() {
	case Open:
		c.Remaining = max(time.Duration(b.until.Load())-now, 0)
	case HalfOpen:
		c.Trials, c.Pending = b.trial.done, b.trial.pending
	}
	return c
}

// randomOr returns the source of randomness, which is math/rand if none is given.
func randomOr(random func() uint64) func() uint64 {
	if random == nil {
		return rand.Uint64
	}
	return random
}

// unit returns a random number of [0, 1).
func unit(random func() uint64) float64 { return float64(random()>>11) / (1 << 53) }
