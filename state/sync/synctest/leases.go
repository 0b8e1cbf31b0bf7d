package synctest

import (
	"context"
	"time"

	"github.com/go-os/go-os/state/sync"
)

func leases() []promise {
	return []promise{
		{name: "lease/held for long", check: heldForLong},
		{name: "lease/a dead holder is replaced in time", check: deadHolder},
		{name: "lease/a dead waiter holds nobody up", check: deadWaiter},
		{name: "lease/a stopped holder learns of it first", check: stoppedHolder},
		{name: "lease/slow answers lengthen no grant", check: slowAnswers},
		{name: "lease/a grant that comes too late is none", check: lateGrant},
		{name: "lease/revoked under a holder", check: revokedHolder},
		{name: "lease/revoked under a waiter", check: revokedWaiter},
	}
}

// heldForLong holds for several TTLs while somebody waits.
func heldForLong(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	waiting := r.wait(r.context(), b, b.Mutex(name).Lock)
	r.pass(3 * r.ttl)
	if err := held.Lost(); err != nil {
		r.Errorf("the grant is lost: %v", err)
	}
	r.waits(waiting, "the waiter")
	r.release(held)
	r.release(r.granted(waiting, "the waiter").grant)
}

// deadHolder stops all that one process says to the engine, as its death would.
func deadHolder(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	waiting := r.wait(r.context(), b, b.Mutex(name).Lock)
	a.freeze()
	died := time.Now()
	<-held.Context().Done()
	ended := held.Deadline() // when the context says so to who asks, however late this goroutine gets its turn
	o := r.granted(waiting, "the waiter behind a dead holder")
	if !ended.Before(o.at) {
		r.Errorf("the context ended %s after the next grant", ended.Sub(o.at))
	}
	if after, bound := o.at.Sub(died), r.latest()+time.Second; after > bound {
		r.Errorf("replaced after %s, want %s at most", after, bound)
	}
	r.Logf("context over after %s, replaced after %s", ended.Sub(died), o.at.Sub(died))
	r.is(held.Lost(), sync.ErrLost, "Lost")
	r.is(context.Cause(held.Context()), sync.ErrLost, "the cause")
	r.is(held.Release(r.context()), sync.ErrLost, "Release")
	r.is(held.Release(r.context()), sync.ErrLost, "Release again")
	if o.grant.Token() <= held.Token() {
		r.Errorf("token %d came after %d", o.grant.Token(), held.Token())
	}
	r.event("goos.sync.lost")
	r.release(o.grant)
}

func deadWaiter(r *rig) {
	name := r.name("m")
	a, b, c := r.process(), r.process(), r.process()
	held := r.lock(a, name)
	ctx, cancel := context.WithCancel(r.context())
	dead := r.wait(ctx, b, b.Mutex(name).Lock)
	waiting := r.wait(r.context(), c, c.Mutex(name).Lock)
	b.freeze()
	r.pass(r.latest() + time.Second)
	r.waits(waiting, "a waiter while the lock is held")
	freed := time.Now()
	r.release(held)
	o := r.granted(waiting, "the waiter behind a dead one")
	if took := o.at.Sub(freed); took > time.Second {
		r.Errorf("the dead waiter held it up for %s", took)
	}
	r.release(o.grant)
	cancel()
	if o := <-dead; o.err == nil {
		r.Error("the dead waiter was granted the lock")
	}
}

// stoppedHolder does not wait for any timer: it asks right after its time is over.
func stoppedHolder(r *rig) {
	p := r.process()
	held := r.lock(p, r.name("m"))
	p.freeze()
	for time.Now().Before(held.Deadline()) { // a renewal may have been under way
		r.pass(time.Until(held.Deadline()))
	}
	if held.Lost() == nil || held.Context().Err() == nil {
		r.Errorf("after the deadline: lost %v, context %v", held.Lost(), held.Context().Err())
	}
}

// slowAnswers has renewals reach the engine at once, and their answers take a while, before the process dies.
func slowAnswers(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	a.mu.Lock()
	a.slow = r.ttl / 4
	a.mu.Unlock()
	waiting := r.wait(r.context(), b, b.Mutex(name).Lock)
	r.pass(r.ttl)
	a.freeze()
	<-held.Context().Done()
	ended := held.Deadline() // when the context says so to who asks, however late this goroutine gets its turn
	o := r.granted(waiting, "the waiter behind a dead holder")
	if !ended.Before(o.at) {
		r.Errorf("the context ended %s after the next grant", ended.Sub(o.at))
	}
	r.release(o.grant)
}

// lateGrant stops a process at the moment at which it gets the lock, until its lease is over.
func lateGrant(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	waiting := r.wait(r.context(), b, b.Mutex(name).Lock)
	r.pass(50 * time.Millisecond) // so that its question is on its way
	b.freeze()
	r.release(held)
	r.pass(r.latest() + 100*time.Millisecond)
	again := r.lock(a, name)
	b.thaw()
	r.pass(50 * time.Millisecond)
	r.waits(waiting, "a process that was stopped while it got the lock, which another has by now")
	r.release(again)
	o := r.granted(waiting, "the process that was stopped")
	if err := o.grant.Lost(); err != nil || o.grant.Token() <= again.Token() {
		r.Errorf("token %d came after %d; lost: %v", o.grant.Token(), again.Token(), err)
	}
	r.release(o.grant)
}

func revokedHolder(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	waiting := r.wait(r.context(), b, b.Mutex(name).Lock)
	if err := b.Revoke(r.context(), a.lease()); err != nil {
		r.Fatalf("Revoke: %v", err)
	}
	r.release(r.granted(waiting, "the waiter").grant)
	select {
	case <-held.Context().Done():
	case <-time.After(r.ttl):
		r.Error("the holder does not learn of it within a TTL")
	}
	r.is(held.Lost(), sync.ErrLost, "Lost")
	r.release(r.lock(a, name)) // with another lease
}

// revokedWaiter is what makes a leader of etcd's own Election that holds no key (etcd#19597).
func revokedWaiter(r *rig) {
	name := r.name("e")
	a, b, c := r.process(), r.process(), r.process()
	ea, eb := a.Election(name), b.Election(name)
	if _, err := ea.Campaign(r.context(), []byte("a")); err != nil {
		r.Fatalf("Campaign: %v", err)
	}
	waiting := r.wait(r.context(), b, func(ctx context.Context) (*sync.Grant, error) { return eb.Campaign(ctx, []byte("b")) })
	if err := c.Revoke(r.context(), b.lease()); err != nil {
		r.Fatalf("Revoke: %v", err)
	}
	r.is(ea.Resign(r.context()), nil, "Resign")
	g := r.granted(waiting, "the candidate whose lease was revoked").grant
	r.led(c.Election(name), g.Token(), "b")
	ec := c.Election(name)
	ctx, cancel := context.WithTimeout(r.context(), r.ttl)
	defer cancel()
	_, err := ec.Campaign(ctx, []byte("c"))
	r.is(err, context.DeadlineExceeded, "Campaign while another leads")
	if err := g.Lost(); err != nil {
		r.Errorf("the grant is lost: %v", err)
	}
	r.is(eb.Resign(r.context()), nil, "Resign")
}

func unknowns() []promise {
	return []promise{
		{name: "unknown/an answer that is lost leaves no claim", check: func(r *rig) { lostAnswer(r, 0) }},
		{name: "unknown/a request that comes late leaves no claim", check: func(r *rig) { lostAnswer(r, r.ttl/4) }},
		{name: "unknown/a release that comes late frees nothing else", check: lateRelease},
	}
}

// lostAnswer has the answer of an acquisition lost, which may take effect, at once or later. Nobody may wait for its claim longer than
// a TTL.
func lostAnswer(r *rig, late time.Duration) {
	name := r.name("m")
	a, b := r.process(), r.process()
	a.mu.Lock()
	a.lose, a.late = 1, late
	a.mu.Unlock()
	_, err := a.Mutex(name).Lock(r.context())
	r.is(err, sync.ErrUnavailable, "Lock whose answer is lost")
	r.pass(2 * late)
	asked := time.Now()
	g, err := b.Mutex(name).Lock(r.context())
	if err != nil {
		r.Fatalf("Lock: %v", err)
	}
	if took, bound := time.Since(asked), r.latest()+time.Second; took > bound {
		r.Errorf("granted after %s, want %s at most", took, bound)
	}
	r.release(g)
	again := r.lock(a, name)
	r.release(again)
	for i := range 3 { // nothing is left anywhere
		g, err := b.Mutex(name).TryLock(r.context())
		r.is(err, nil, "TryLock %d", i)
		if err == nil {
			r.release(g)
		}
	}
}

// lateRelease has a release take effect when the lock has been taken again.
func lateRelease(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	late := r.ttl / 4
	a.mu.Lock()
	a.forget, a.late = 1, late
	a.mu.Unlock()
	r.is(held.Release(r.context()), sync.ErrUnavailable, "Release whose answer is lost")
	r.pass(late / 4) // for the session to have released it in a second attempt
	again := r.lock(a, name)
	r.pass(2 * late)
	_, err := b.Mutex(name).TryLock(r.context())
	r.is(err, sync.ErrHeld, "TryLock of what is held")
	r.release(again)
}
