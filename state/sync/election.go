package sync

import (
	"context"
	"errors"
	"fmt"
	"iter"
	gosync "sync"

	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/state/sync/driver"
)

// Leader is the holder of a leadership. The zero Leader means none.
type Leader struct {
	// Token is the fencing token of the leader's grant.
	Token Token
	// Value is the value that the leader campaigned with, such as its address.
	Value []byte
}

// Election elects one process at a time as the leader.
type Election struct {
	primitive

	mu      gosync.Mutex
	leading *Grant
}

// Election returns a new candidate in the election of this name. If the name is invalid as for Mutex, its methods return ErrInvalid.
func (s *Session) Election(name string) *Election {
	return &Election{primitive: s.primitive(s.election, name, 1)}
}

// Campaign waits until this candidate leads. Observers then see value. It returns ErrHeld if this candidate already leads. Its other
// errors and the life of the grant are those of [Mutex.Lock].
func (e *Election) Campaign(ctx context.Context, value []byte) (*Grant, error) {
	return e.campaign(ctx, context.WithoutCancel(ctx), value)
}

func (e *Election) campaign(ctx, parent context.Context, value []byte) (*Grant, error) {
	if e.current() != nil {
		return nil, &Error{Op: "acquire", Name: e.name, Err: fmt.Errorf("%w: this candidate already leads", ErrHeld)}
	}
	g, err := e.acquire(ctx, parent, value, false)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leading = g
	return g, nil
}

// current returns the grant under which this candidate leads, or nil.
func (e *Election) current() *Grant {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.leading == nil || e.leading.ended() != nil {
		return nil
	}
	return e.leading
}

// Resign gives up the leadership. It returns ErrNotHeld if this candidate does not lead. Its other errors are those of [Grant.Release].
func (e *Election) Resign(ctx context.Context) error {
	g := e.current()
	if g == nil {
		return &Error{Op: "release", Name: e.name, Err: fmt.Errorf("%w: this candidate does not lead", ErrNotHeld)}
	}
	return g.Release(ctx)
}

// Do campaigns, and calls f when this candidate leads. The context of f ends with ctx and with the leadership. When f returns after the
// leadership was lost, Do campaigns again, whatever happens to the engine. Do returns when f returns while this candidate leads, when ctx
// ends, or when the session is closed. It then resigns.
func (e *Election) Do(ctx context.Context, value []byte, f func(context.Context, *Grant) error) error {
	for attempt := 0; ; attempt++ {
		g, err := e.campaign(ctx, ctx, value)
		if err == nil {
			attempt = 0
			var lost error
			if err, lost = g.run(ctx, f); !errors.Is(lost, ErrLost) {
				return err
			}
			err = errors.Join(err, lost)
		} else if !errors.Is(err, ErrLost) && !errors.Is(err, ErrUnavailable) {
			return err
		}
		if backoff.Sleep(ctx, e.session.wait(attempt)) != nil {
			return err
		}
	}
}

// errStop ends a watch when its caller needs no more events.
var errStop = errors.New("stop")

// Leader reads the current leader from the engine. It returns ErrNotHeld if there is none.
func (e *Election) Leader(ctx context.Context) (leader Leader, err error) {
	ctx, call := e.session.leader.Start(ctx, e.name)
	defer call.End(ctx, &err)
	if err := e.check(ctx, nil); err != nil {
		return leader, err
	}
	within, cancel := e.session.request(ctx)
	defer cancel()
	err = e.session.driver.Watch(within, e.queue, func(h driver.Holder) error {
		leader = Leader(h)
		return errStop
	})
	switch {
	case !errors.Is(err, errStop):
		return Leader{}, e.session.classify(ctx, err)
	case leader.Token == 0:
		return Leader{}, fmt.Errorf("%w: nobody leads", ErrNotHeld)
	}
	return leader, nil
}

// Observe returns the current leader, and then every change. A leader that was soon replaced may be skipped, but never the latest. After
// a lost connection Observe reconnects without an error; the last leader may be stale until then.
//
// The loop ends without an error when ctx ends. Any other end is an error in the last pair: ErrClosed or ErrInvalid.
func (e *Election) Observe(ctx context.Context) iter.Seq2[Leader, error] {
	return func(yield func(Leader, error) bool) {
		o := observer{election: e, yield: yield}
		err := o.run(ctx)
		if err != nil && ctx.Err() == nil && !o.left {
			yield(Leader{}, &Error{Op: "observe", Name: e.name, Err: err})
		}
	}
}

// observer is one loop of Observe.
type observer struct {
	election *Election
	yield    func(Leader, error) bool
	last     Token
	emitted  bool // has emitted a leader, or none
	left     bool // the caller has left the loop
}

func (o *observer) run(ctx context.Context) error {
	e := o.election
	s := e.session
	if err := e.check(ctx, nil); err != nil {
		return err
	}
	ctx, cancel := s.life.Within(ctx)
	defer cancel()
	for attempt := 0; ; attempt++ {
		err := s.driver.Watch(ctx, e.queue, func(h driver.Holder) error {
			attempt = 0
			return o.emit(ctx, h)
		})
		switch {
		case s.life.Err() != nil:
			return ErrClosed
		case o.left, ctx.Err() != nil, errors.Is(err, ErrInvalid):
			return err
		}
		if backoff.Sleep(ctx, s.wait(attempt)) != nil && s.life.Err() == nil {
			return nil
		}
	}
}

// emit passes a change to the loop.
func (o *observer) emit(ctx context.Context, h driver.Holder) error {
	if o.emitted && h.Token == o.last {
		return nil
	}
	if o.emitted {
		e := o.election
		e.session.leaderChanged.Emit(ctx, e.kind.about(e.name, h.Token)...)
	}
	o.emitted, o.last = true, h.Token
	if !o.yield(Leader(h), nil) {
		o.left = true
		return errStop
	}
	return nil
}
