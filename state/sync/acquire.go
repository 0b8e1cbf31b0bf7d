package sync

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/state/sync/driver"
)

// primitive is the common part of Mutex, Election and Semaphore: a named queue of a kind in a session.
type primitive struct {
	session *Session
	kind    *kind
	name    string
	queue   string // the engine's name; the kinds do not share names
	seats   int
}

func (s *Session) primitive(k *kind, name string, seats int) primitive {
	return primitive{session: s, kind: k, name: name, queue: k.name + "/" + name, seats: seats}
}

// check validates an acquisition before anything is sent.
func (p *primitive) check(ctx context.Context, value []byte) error {
	s := p.session
	caps := s.caps
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.life.Err() != nil:
		return ErrClosed
	case s.fault != nil:
		return s.fault
	case p.name == "":
		return fmt.Errorf("%w: the name is empty", ErrInvalid)
	case !utf8.ValidString(p.name):
		return fmt.Errorf("%w: the name is not UTF-8", ErrInvalid)
	case len(p.queue) > caps.MaxName:
		return fmt.Errorf("%w: a name of %d bytes, where %s takes %d", ErrInvalid, len(p.name), caps.System, caps.MaxName-len(p.kind.name)-1)
	case len(value) > caps.MaxValue:
		return fmt.Errorf("%w: a value of %d bytes, where %s takes %d", ErrInvalid, len(value), caps.System, caps.MaxValue)
	case p.seats < 1:
		return fmt.Errorf("%w: a semaphore with %d seats: it needs at least one", ErrInvalid, p.seats)
	}
	return nil
}

// checkReentry returns ErrHeld if the caller already holds the seat that it would wait for.
func (p *primitive) checkReentry(ctx context.Context) error {
	for g := grantOf(ctx); g != nil && p.seats == 1; g = g.outer() {
		if g.of.session == p.session && g.of.queue == p.queue && g.ended() == nil {
			return fmt.Errorf("%w: by the caller, who would wait for itself", ErrHeld)
		}
	}
	return nil
}

// acquire returns a grant whose context is a child of parent. With try it does not wait for a seat.
func (p *primitive) acquire(ctx, parent context.Context, value []byte, try bool) (g *Grant, err error) {
	op := p.kind.acquire
	if try {
		op = p.kind.try
	}
	ctx, call := op.Start(ctx, p.name)
	defer call.End(ctx, &err)
	if err := p.check(ctx, value); err != nil {
		return nil, err
	}
	if err := p.checkReentry(ctx); err != nil {
		return nil, err
	}
	for attempt := 0; ; attempt++ {
		l, err := p.session.open(ctx)
		if err != nil {
			return nil, err
		}
		if l == nil { // lost as soon as it was granted: this process is too slow for its TTL
			err = ErrLost
		} else {
			g, err = p.enter(ctx, parent, l, value, try)
		}
		if !errors.Is(err, driver.ErrLost) {
			return g, err
		}
		if late := backoff.Sleep(ctx, p.session.wait(attempt)); late != nil {
			return nil, fault.Classify(late, err)
		}
	}
}

// enter joins the queue with a lease, and waits for a seat. It returns ErrLost if the claim or its lease has ended.
func (p *primitive) enter(ctx, parent context.Context, l *lease, value []byte, try bool) (*Grant, error) {
	s := p.session
	c := l.seat(p.queue)
	c.Seats, c.Value = p.seats, value
	sent := time.Now()
	request, done := s.request(ctx)
	token, granted, err := s.driver.Acquire(request, c.Claim, try)
	done()
	switch {
	case err == nil:
		c.live(token, sent)
	case errors.Is(err, ErrHeld), errors.Is(err, ErrLost), errors.Is(err, ErrInvalid):
		if errors.Is(err, ErrLost) {
			l.lose(endRevoked, fmt.Errorf("%w: %s no longer knows the lease", ErrLost, s.caps.System))
		}
		c.done()
		return nil, err
	default: // the claim may exist, or be created later
		err = l.classify(ctx, err)
		c.taint()
		c.remove()
		return nil, err
	}
	if !granted {
		p.kind.contentions.Add(ctx, 1, p.kind.attrs)
		if err := p.await(ctx, c); err != nil {
			c.abandon()
			return nil, err
		}
	}
	if why := c.ended(); why != nil { // by the clock, which may be ahead of the engine
		c.abandon()
		return nil, why.err
	}
	g, err := p.newGrant(parent, c)
	if err != nil {
		c.abandon()
	}
	return g, err
}

// await waits for a seat as long as the claim exists, and retries after lost connections.
func (p *primitive) await(ctx context.Context, c *claim) error {
	l := c.lease
	within, cancel := l.within(ctx)
	defer cancel()
	c.listen(func(*ending) { cancel() })
	p.kind.waiting.Add(ctx, 1, p.kind.attrs)
	defer p.kind.waiting.Add(ctx, -1, p.kind.attrs)
	for attempt := 0; ; attempt++ {
		began := time.Now()
		err := p.session.driver.Await(within, c.Claim)
		if err == nil || errors.Is(err, ErrLost) {
			return err
		}
		if within.Err() != nil || errors.Is(err, ErrClosed) {
			return c.classify(ctx, err)
		}
		if time.Since(began) > p.session.opts.MaxBackoff {
			attempt = 0 // the connection has worked meanwhile
		}
		if backoff.Sleep(within, p.session.wait(attempt)) != nil {
			return c.classify(ctx, err)
		}
	}
}

// within returns a context that ends with ctx and with the lease.
func (l *lease) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(l.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// classify classifies the error of a request that also ends with the lease.
func (l *lease) classify(ctx context.Context, err error) error {
	if why := l.lost(); why != nil && ctx.Err() == nil && l.session.life.Err() == nil {
		return why.err
	}
	return l.session.classify(ctx, err)
}

// classify classifies the error of a request that also ends with the claim.
func (c *claim) classify(ctx context.Context, err error) error {
	if why := c.ended(); why != nil && ctx.Err() == nil && c.lease.session.life.Err() == nil {
		return why.err
	}
	return c.lease.session.classify(ctx, err)
}
