package synctest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	gosync "sync"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/telemetry"
)

func leases() []promise {
	return []promise{
		{Name: "lease/held for long", Together: true, Check: heldForLong},
		{Name: "lease/a dead holder is replaced in time", Together: true, Check: deadHolder},
		{Name: "lease/a dead waiter holds nobody up", Together: true, Check: deadWaiter},
		{Name: "lease/a stopped holder learns of it first", Together: true, Check: stoppedHolder},
		{Name: "lease/slow answers lengthen no grant", Together: true, Check: slowAnswers},
		{Name: "lease/a grant that comes too late is none", Together: true, Check: lateGrant},
		{Name: "lease/revoked under a holder", Together: true, Check: revokedHolder},
		{Name: "lease/revoked under a waiter", Together: true, Check: revokedWaiter},
		{Name: "lease/a late answer lengthens no grant", Together: true, Check: lateAnswer},
		{Name: "lease/a claim removed by hand", Together: true, Check: removedByHand},
		{Name: "lease/short locks beside a long one", Together: true, Check: shortLocks},
	}
}

// heldForLong holds a lock for several TTLs while another process waits.
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

// deadHolder stops all requests of one process, as its death would.
func deadHolder(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	waiting := r.wait(r.context(), b, b.Mutex(name).Lock)
	a.freeze()
	died := time.Now()
	<-held.Context().Done()
	ended := held.Deadline() // the time at which the context reports its end, however late this goroutine runs
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

// stoppedHolder does not depend on timers: it checks the grant right after its deadline.
func stoppedHolder(r *rig) {
	p := r.process()
	held := r.lock(p, r.name("m"))
	p.freeze()
	for time.Now().Before(held.Deadline()) { // a renewal may have been in progress
		r.pass(time.Until(held.Deadline()))
	}
	if held.Lost() == nil || held.Context().Err() == nil {
		r.Errorf("after the deadline: lost %v, context %v", held.Lost(), held.Context().Err())
	}
}

// slowAnswers lets renewals reach the engine at once and delays their answers, before the process dies.
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
	ended := held.Deadline() // the time at which the context reports its end, however late this goroutine runs
	o := r.granted(waiting, "the waiter behind a dead holder")
	if !ended.Before(o.at) {
		r.Errorf("the context ended %s after the next grant", ended.Sub(o.at))
	}
	r.release(o.grant)
}

// lateGrant stops a process at the moment it gets the lock, until its lease is over.
func lateGrant(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	waiting := r.wait(r.context(), b, b.Mutex(name).Lock)
	r.pass(50 * time.Millisecond) // time for its request to be sent
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

// revokedWaiter runs the scenario in which etcd's own Election makes a leader that has no key (etcd#19597).
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

// lateAnswer delays the answer to an acquisition beyond a renewal that does not name its claim. Then the process loses its network.
func lateAnswer(r *rig) {
	a, b := r.process(), r.process()
	r.lock(a, r.name("before")) // creates the lease, so that it is renewed
	var held *sync.Grant
	name := ""
	for i := 0; held == nil; i++ {
		if i == 10 {
			r.Fatal("no renewal fell into the time of an acquisition")
		}
		seen := a.renewals()
		r.eventually("a renewal", func() error {
			if a.renewals() == seen {
				return errors.New("not yet")
			}
			return nil
		})
		r.pass(r.ttl / 12)
		seen = a.renewals()
		name = r.name(fmt.Sprint("m", i))
		a.mu.Lock()
		a.delay = r.ttl * 3 / 10 // the next renewal is sent within it, a third of a TTL after the last
		a.mu.Unlock()
		g := r.lock(a, name)
		if a.renewals() > seen {
			held = g
		}
	}
	a.freeze()
	if latest := a.sent.Add(r.ttl - r.ttl/10); held.Deadline().After(latest) {
		r.Errorf("the deadline is %s after what the acquisition and the margin allow", held.Deadline().Sub(latest))
	}
	next := r.lock(b, name)
	if now := time.Now(); now.Before(held.Deadline()) {
		r.Errorf("granted %s before the deadline of the holder", held.Deadline().Sub(now))
	}
	r.release(next)
}

// removedByHand removes the claims of a holder and of a waiter from their queues, unknown to their process.
func removedByHand(r *rig) {
	a, b := r.process(), r.process()
	hand, _ := r.raw()
	other := r.lock(a, r.name("other"))
	held := r.lock(a, r.name("m"))
	waiting := r.wait(r.context(), b, b.Mutex(r.name("m")).Lock)
	r.is(hand.Release(r.context(), a.claim()), nil, "Release by hand")
	r.release(r.granted(waiting, "the waiter").grant)
	select {
	case <-held.Context().Done():
	case <-time.After(r.ttl):
		r.Error("the holder does not learn of it within a TTL")
	}
	r.is(held.Lost(), sync.ErrLost, "Lost")
	r.is(context.Cause(held.Context()), sync.ErrLost, "the cause")
	r.is(held.Release(r.context()), sync.ErrLost, "Release")
	r.is(other.Lost(), nil, "Lost of another grant of the session")
	r.event("goos.sync.lost")

	waiting = r.wait(r.context(), b, b.Mutex(r.name("other")).Lock)
	r.is(hand.Release(r.context(), b.claim()), nil, "Release by hand of a claim that waits")
	r.pass(r.ttl)
	r.release(other)
	r.release(r.granted(waiting, "the waiter whose claim was removed").grant)
}

// QuietVariable is the environment variable that sets the length of quiet hours, as a time.Duration. Quiet hours take many short locks
// while a long one is held, without faults. Default: three TTLs, and six seconds at least.
const QuietVariable = "SYNCTEST_QUIET"

// shortLocks repeatedly takes and releases locks in a session that holds another one for long.
func shortLocks(r *rig) {
	const goroutines = 8
	lasts := max(3*r.ttl, 6*time.Second)
	if d, err := time.ParseDuration(os.Getenv(QuietVariable)); err == nil {
		lasts = d
	}
	p := r.processOn(r.open, sync.Options{Telemetry: telemetry.Off()})
	long := r.lock(p, r.name("long"))
	began := time.Now()
	var rounds, busy atomic.Int64
	var group gosync.WaitGroup
	for i := range goroutines {
		group.Go(func() {
			m := p.Mutex(r.name(fmt.Sprint("short", i)))
			for time.Since(began) < lasts && long.Lost() == nil {
				err := m.Do(r.Context(), func(context.Context, *sync.Grant) error {
					time.Sleep(time.Duration(rand.N(3000)) * time.Microsecond)
					return nil
				})
				switch {
				case err == nil:
					rounds.Add(1)
				case errors.Is(err, sync.ErrUnavailable): // on a busy machine, an engine may not answer in time
					busy.Add(1)
				default:
					r.Errorf("Do, after %s and %d rounds without a fault: %v", time.Since(began), rounds.Load(), err)
					return
				}
			}
		})
	}
	group.Wait()
	if err := long.Lost(); err != nil {
		r.Errorf("the long grant is lost after %s and %d rounds without a fault: %v", time.Since(began), rounds.Load(), err)
		return
	}
	r.Logf("%d rounds within %s, and %d that were not answered in time", rounds.Load(), lasts, busy.Load())
	if busy.Load() > rounds.Load()/10 {
		r.Errorf("%d rounds were not answered in time, and %d were", busy.Load(), rounds.Load())
	}
	r.release(long)
}
