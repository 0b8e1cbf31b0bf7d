package sync

import (
	"context"
	"errors"
	"fmt"
	gosync "sync"
	"time"

	"github.com/go-os/go-os/state/sync/driver"
)

// Grant is a seat that this process holds: a lock, a leadership, one unit of a semaphore. It is safe for concurrent use.
type Grant struct {
	of    *primitive
	claim *claim
	since time.Time
	ctx   context.Context
	stop  func() bool // stops watching the lease

	mu     gosync.Mutex
	cancel context.CancelCauseFunc
	why    *ending // nil until the grant ends
}

// heldKey is the key of the grant in its context. It serves to detect a caller that would wait for itself.
type heldKey struct{}

// outer returns the grant whose context this grant was requested with, or nil.
func (g *Grant) outer() *Grant {
	return grantOf(g.ctx.(grantContext).Context)
}

// newGrant returns the grant of a claim. It ends when the claim is lost.
func (p *primitive) newGrant(parent context.Context, c *claim) (*Grant, error) {
	g := &Grant{of: p, claim: c, since: time.Now()}
	inner, cancel := context.WithCancelCause(parent)
	g.ctx, g.cancel = grantContext{inner, g}, cancel
	s := p.session
	s.mu.Lock()
	if s.life.Err() != nil || s.draining {
		s.mu.Unlock()
		cancel(ErrClosed)
		return nil, ErrClosed
	}
	s.grants[g] = struct{}{}
	s.mu.Unlock()
	p.kind.held.Add(parent, 1, p.kind.attrs)
	if p.kind.elected != nil {
		p.kind.elected.Emit(parent, p.kind.about(p.name, c.Token)...)
	}
	g.stop = context.AfterFunc(c.lease.ctx, func() { g.finish(c.lease.lost()) })
	c.hold(func(why *ending) { g.finish(why) })
	return g, nil
}

// Token returns the fencing token: larger than that of every earlier grant of the name.
func (g *Grant) Token() Token { return g.claim.Token }

// Context returns a context that ends with the grant, before another process can have the seat. It has the values of the context that the
// grant was requested with. In a Do, it also ends with the caller's context. context.Cause returns the reason for its end. Its Err reads
// the clock; the Err of a derived context does not: see [Lost].
func (g *Grant) Context() context.Context { return g.ctx }

// Deadline returns the time at which the grant ends if no further renewal succeeds. Every renewal moves it.
func (g *Grant) Deadline() time.Time { return g.claim.deadline() }

// Lost returns nil while the grant holds and after it was released. Otherwise it returns the reason for its end: an error that wraps
// ErrLost or ErrClosed. It reads the clock and sends no request.
func (g *Grant) Lost() error {
	if why := g.ended(); why != nil && why.end != endReleased {
		return &Error{Op: "lost", Name: g.of.name, Err: why.err}
	}
	return nil
}

// ended returns why the grant has ended, or nil.
func (g *Grant) ended() *ending {
	g.mu.Lock()
	why := g.why
	g.mu.Unlock()
	if why == nil {
		if lost := g.claim.ended(); lost != nil {
			return g.finish(lost)
		}
	}
	return why
}

// finish ends the grant unless it has already ended, and returns why it has.
func (g *Grant) finish(why *ending) *ending {
	g.mu.Lock()
	if g.why != nil {
		defer g.mu.Unlock()
		return g.why
	}
	g.why = why
	g.cancel(why) // under the lock: a caller that reads why must see the end of the context
	g.mu.Unlock()
	k, s := g.of.kind, g.of.session
	k.held.Add(g.ctx, -1, k.attrs)
	k.hold.Record(g.ctx, time.Since(g.since).Seconds(), k.ends[why.end])
	if why.end != endReleased {
		k.lost.EmitError(g.ctx, why.err, k.about(g.of.name, g.claim.Token, endAttr.String(why.end))...)
		s.forget(g)
	} else if k.resigned != nil {
		k.resigned.Emit(g.ctx, k.about(g.of.name, g.claim.Token)...)
	}
	return why
}

// forget notifies Shutdown that a grant has ended.
func (s *Session) forget(g *Grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.grants, g)
	if len(s.grants) == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// errReleased is the cause of a context whose grant was released.
var errReleased = errors.New("sync: the grant was released")

// Release ends the grant's context, and then frees the seat. It returns ErrNotHeld if the grant was released before. It returns ErrLost
// if the grant had already ended or the engine no longer had it: its work may not have been protected to the end. After ErrUnavailable or
// the end of ctx, the session retries the release until the lease has ended.
func (g *Grant) Release(ctx context.Context) (err error) {
	ctx, call := g.of.kind.release.Start(ctx, g.of.name)
	defer call.End(ctx, &err)
	if call.Recording() {
		call.Set(tokenAttr.Int64(int64(g.claim.Token)))
	}
	if lost := g.Lost(); lost != nil {
		return lost
	}
	mine := &ending{endReleased, errReleased}
	if why := g.finish(mine); why != mine {
		if why.end == endReleased {
			return fmt.Errorf("%w: already released", ErrNotHeld)
		}
		return why.err
	}
	g.stop()
	defer g.of.session.forget(g) // not earlier: Shutdown would close the session during the request
	c := g.claim
	if !c.leave() { // it was lost concurrently
		return fmt.Errorf("%w: the engine no longer had it", ErrLost)
	}
	within, cancel := g.of.session.request(ctx)
	err = g.of.session.driver.Release(within, c.Claim)
	cancel()
	switch {
	case err == nil:
		c.done()
		return nil
	case errors.Is(err, driver.ErrLost):
		c.done()
		return fmt.Errorf("%w: the engine no longer had it", err)
	default:
		err = c.lease.classify(ctx, err)
		c.taint()
		c.remove()
		return err
	}
}

// do calls f with the grant, and releases it.
func (g *Grant) do(ctx context.Context, f func(context.Context, *Grant) error) error {
	err, released := g.run(ctx, f)
	switch {
	case err == nil:
		return released
	case errors.Is(released, ErrLost):
		return errors.Join(err, released)
	default:
		return err
	}
}

// run returns the errors of f and of the release. It releases the grant even if f panics.
func (g *Grant) run(ctx context.Context, f func(context.Context, *Grant) error) (err, released error) {
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.of.session.opts.Timeout)
		defer cancel()
		released = g.Release(late)
	}()
	if f == nil {
		return &Error{Op: "do", Name: g.of.name, Err: fmt.Errorf("%w: no function to call", ErrInvalid)}, nil
	}
	return f(g.ctx, g), nil
}

// grantContext is the context of a grant. Its Err does not wait for a timer.
type grantContext struct {
	context.Context
	grant *Grant
}

// Err implements context.Context.
func (c grantContext) Err() error {
	if err := c.Context.Err(); err != nil {
		return err
	}
	c.grant.ended()
	return c.Context.Err()
}

// Value implements context.Context.
func (c grantContext) Value(key any) any {
	if key == (heldKey{}) {
		return c.grant
	}
	return c.Context.Value(key)
}
