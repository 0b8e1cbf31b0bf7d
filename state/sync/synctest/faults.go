package synctest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-os/go-os/state/sync"
)

func faults() []promise {
	return []promise{
		{Name: "faults/engine down at start", Hook: "Kill", Check: downAtStart},
		{Name: "faults/engine down for long", Hook: "Kill", Check: downForLong},
		{Name: "faults/engine restarted", Hook: "Kill", Check: restarted},
		{Name: "faults/engine paused for long", Hook: "Pause", Check: pausedForLong},
		{Name: "faults/context ended while the engine is paused", Hook: "Pause", Check: contextEnds},
		{Name: "faults/leader killed", Hook: "KillLeader", Check: leaderKilled},
		{Name: "faults/network cut", Hook: "Cut and Beside", Check: func(r *rig) { r.apart(r.Cut) }},
		{Name: "faults/network silent", Hook: "Drop and Beside", Check: func(r *rig) { r.apart(r.Drop) }},
	}
}

// downAtStart makes calls to an engine that was never reachable.
func downAtStart(r *rig) {
	p := r.process()
	r.Kill(r)
	for what, call := range map[string]func(context.Context) error{
		"Lock":    func(ctx context.Context) error { _, err := p.Mutex(r.name("m")).Lock(ctx); return err },
		"TryLock": func(ctx context.Context) error { _, err := p.Mutex(r.name("m")).TryLock(ctx); return err },
		"Leader":  func(ctx context.Context) error { _, err := p.Election(r.name("e")).Leader(ctx); return err },
	} {
		began := time.Now()
		err := call(r.context())
		r.is(err, sync.ErrUnavailable, "%s of an engine that is down", what)
		if took := time.Since(began); took > sync.DefaultTimeout+time.Second {
			r.Errorf("%s took %s", what, took)
		}
		ctx, cancel := context.WithTimeout(r.context(), 100*time.Millisecond)
		began = time.Now()
		if err := call(ctx); err == nil {
			r.Errorf("%s of an engine that is down succeeds", what)
		}
		cancel()
		if took := time.Since(began); took > 1100*time.Millisecond {
			r.Errorf("%s ended %s after its context", what, took)
		}
	}
	r.Revive(r)
	r.eventually("a lock after the engine is back", func() error { return r.locks(p, r.name("m")) })
}

// locks acquires and releases a lock.
func (r *rig) locks(p process, name string) error {
	ctx, cancel := context.WithTimeout(r.Context(), r.latest()+5*time.Second)
	defer cancel()
	g, err := p.Mutex(name).Lock(ctx)
	if err != nil {
		return err
	}
	return g.Release(ctx)
}

// overBy fails the test unless the grant is over by its deadline.
func (r *rig) overBy(g *sync.Grant, since time.Time) time.Time {
	r.Helper()
	select {
	case <-g.Context().Done():
	case <-time.After(r.ttl + time.Second):
		r.Fatal("the grant goes on a TTL after the engine is gone")
	}
	ended := g.Deadline() // the time at which the context reports its end, however late this goroutine runs
	if took := ended.Sub(since); took > r.ttl {
		r.Errorf("the grant was over %s after the engine was gone, with a TTL of %s", took, r.ttl)
	}
	r.is(g.Lost(), sync.ErrLost, "Lost")
	return ended
}

func downForLong(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	waiting := r.wait(r.context(), b, b.Mutex(name).Lock)
	r.Kill(r)
	ended := r.overBy(held, time.Now())
	r.is(held.Release(r.context()), sync.ErrLost, "Release")
	select {
	case o := <-waiting:
		r.is(o.err, sync.ErrUnavailable, "Lock")
		r.Revive(r)
	case <-time.After(r.ttl):
		r.Revive(r) // a waiter may keep waiting
		if o := r.granted(waiting, "the waiter"); o.at.Before(ended) || o.grant.Token() <= held.Token() {
			r.Errorf("granted token %d, %s after the context of %d had ended", o.grant.Token(), o.at.Sub(ended), held.Token())
		} else {
			r.release(o.grant)
		}
	}
	r.eventually("a lock after the engine is back", func() error { return r.locks(a, name) })
}

// restarted stops the engine for less than a TTL. The grant may survive or be lost, but no other process may get the lock before that.
func restarted(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	waiting := r.wait(r.context(), b, b.Mutex(name).Lock)
	r.Kill(r)
	r.Revive(r)
	r.pass(r.ttl / 2)
	if held.Lost() == nil {
		select {
		case o := <-waiting:
			if o.err == nil && held.Lost() == nil {
				r.Errorf("token %d is granted while %d is held", o.grant.Token(), held.Token())
			}
			return
		default:
		}
		if err := held.Release(r.context()); err != nil {
			r.Logf("Release: %v", err)
		}
	}
	o := <-waiting
	if o.err == nil {
		if o.grant.Token() <= held.Token() {
			r.Errorf("token %d came after %d", o.grant.Token(), held.Token())
		}
		r.release(o.grant)
	} else {
		r.is(o.err, sync.ErrUnavailable, "Lock")
	}
	r.eventually("a lock after the restart", func() error { return r.locks(b, name) })
}

func pausedForLong(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	r.Pause(r)
	ended := r.overBy(held, time.Now())
	r.pass(r.ttl)
	asked := time.Now()
	_, err := b.Mutex(name).TryLock(r.context())
	r.is(err, sync.ErrUnavailable, "TryLock of an engine that does not answer")
	if took := time.Since(asked); took > sync.DefaultTimeout+time.Second {
		r.Errorf("TryLock took %s", took)
	}
	r.Resume(r)
	var g *sync.Grant
	r.eventually("a lock after the pause", func() (err error) {
		ctx, cancel := context.WithTimeout(r.Context(), r.latest()+5*time.Second)
		defer cancel()
		g, err = b.Mutex(name).Lock(ctx)
		return err
	})
	if time.Now().Before(ended) || g.Token() <= held.Token() {
		r.Errorf("token %d came after %d", g.Token(), held.Token())
	}
	r.release(g)
}

// contextEnds makes calls to a silent engine, by a process that has used it and by one that has not. They end with their context, with or
// without a deadline, and with the timeout of a request.
func contextEnds(r *rig) {
	const delay = 100 * time.Millisecond
	used, fresh := r.process(), r.process()
	held, kept := r.lock(used, r.name("held")), r.lock(used, r.name("kept"))
	if _, err := used.Election(r.name("e")).Leader(r.context()); err != nil {
		r.is(err, sync.ErrNotHeld, "Leader")
	}
	r.Pause(r)
	defer r.Resume(r)
	canceled := func() (context.Context, error) { // long before its deadline
		ctx, cancel := context.WithTimeout(r.Context(), time.Hour)
		time.AfterFunc(delay, cancel)
		return ctx, context.Canceled
	}
	late := func() (context.Context, error) {
		ctx, cancel := context.WithTimeout(r.Context(), delay)
		r.Cleanup(cancel)
		return ctx, context.DeadlineExceeded
	}
	ends := func(what string, within time.Duration, call func(context.Context) error, ctx context.Context, want error) {
		r.Helper()
		began := time.Now()
		r.is(call(ctx), want, "%s", what)
		if took := time.Since(began); took > within+time.Second {
			r.Errorf("%s ended after %s, want %s", what, took, within)
		}
	}
	for who, p := range map[string]process{"a process": used, "a fresh process": fresh} {
		for what, call := range map[string]func(context.Context) error{
			"Lock":    func(ctx context.Context) error { _, err := p.Mutex(r.name("m")).Lock(ctx); return err },
			"TryLock": func(ctx context.Context) error { _, err := p.Mutex(r.name("m")).TryLock(ctx); return err },
			"Leader":  func(ctx context.Context) error { _, err := p.Election(r.name("e")).Leader(ctx); return err },
		} {
			for _, end := range []func() (context.Context, error){canceled, late} {
				ctx, want := end()
				ends(what+" of "+who, delay, call, ctx, want)
			}
			ends(what+" of "+who+", by the timeout", r.ttl/3, call, r.context(), sync.ErrUnavailable)
		}
	}
	for _, g := range []*sync.Grant{held, kept} {
		ctx, cancel := context.WithTimeout(r.Context(), time.Hour)
		time.AfterFunc(delay, cancel)
		began := time.Now()
		if err := g.Release(ctx); err == nil {
			r.Error("Release succeeds while the engine is silent")
		}
		if took := time.Since(began); took > delay+time.Second {
			r.Errorf("Release ended after %s, want %s", took, delay)
		}
	}
}

// leaderKilled kills the engine's leader while locks are handed over.
func leaderKilled(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	var last sync.Token
	for range 3 {
		var held *sync.Grant
		r.eventually("a lock", func() (err error) {
			held, err = a.Mutex(name).Lock(r.context())
			return err
		})
		waiting := r.wait(r.context(), b, b.Mutex(name).Lock)
		r.KillLeader(r)
		killed := time.Now()
		r.pass(100 * time.Millisecond)
		if err := held.Release(r.context()); err != nil && !errors.Is(err, sync.ErrUnavailable) && !errors.Is(err, sync.ErrLost) {
			r.Errorf("Release: %v", err)
		}
		o := <-waiting
		if o.err != nil {
			r.is(o.err, sync.ErrUnavailable, "Lock")
			r.Revive(r)
			continue
		}
		r.Logf("handed over %s after the leader was killed", o.at.Sub(killed).Round(time.Millisecond))
		if o.grant.Token() <= held.Token() || held.Token() <= last {
			r.Errorf("tokens %d, %d, %d", last, held.Token(), o.grant.Token())
		}
		last = o.grant.Token()
		r.eventually("the lock to be given back", func() error {
			if err := o.grant.Release(r.context()); err != nil && !errors.Is(err, sync.ErrNotHeld) && !errors.Is(err, sync.ErrLost) {
				return err
			}
			return nil
		})
		r.Revive(r)
	}
}

// apart cuts the network of a holder while a process on another network waits.
func (r *rig) apart(begin func(testing.TB)) {
	name := r.name("m")
	a, b := r.process(), r.processOn(r.Beside, sync.Options{})
	held := r.lock(a, name)
	waiting := r.wait(r.context(), b, b.Mutex(name).Lock)
	begin(r)
	cut := time.Now()
	ended := r.overBy(held, cut)
	o := r.granted(waiting, "the waiter")
	if o.at.Before(ended) {
		r.Errorf("granted %s before the context of the holder ended", ended.Sub(o.at))
	}
	if after, bound := o.at.Sub(cut), r.latest()+time.Second; after > bound {
		r.Errorf("replaced after %s, want %s at most", after, bound)
	}
	if o.grant.Token() <= held.Token() {
		r.Errorf("token %d came after %d", o.grant.Token(), held.Token())
	}
	_, err := a.Mutex(name).TryLock(r.context())
	r.is(err, sync.ErrUnavailable, "TryLock without a network")
	r.Heal(r)
	r.release(o.grant)
	r.eventually("a lock with the network back", func() error { return r.locks(a, name) })
}
