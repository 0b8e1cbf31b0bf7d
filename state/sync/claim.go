package sync

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/state/sync/driver"
)

// claim is a place in a queue, with a lease of this process.
//
// The engine may remove a claim a TTL after its acquisition, or after the last renewal that named it. So the deadline counts from the
// acquisition until a later renewal that named the claim has succeeded. From then on it is the deadline of the lease.
type claim struct {
	driver.Claim
	lease   *lease
	number  int  // the end of its ID
	tainted bool // a request about it may still be running: its ID must not be used again

	// Guarded by lease.mu.
	member bool          // named by renewals
	held   bool          // it has a grant, which its deadline ends
	until  time.Time     // its own deadline; zero once a renewal has covered it
	timer  *time.Timer   // for its own deadline, while it is held and has one
	why    *ending       // nil until it ends
	onLost func(*ending) // called once when the claim is lost and its lease is not
}

// numbers are the claim numbers of one queue. They are reused, because engines keep deleted keys for a while: with a new key for each
// claim, the queue of a busy lock would become slower to read.
type numbers struct {
	next int
	free []int
}

// seat returns a claim with an ID that is unique in the queue.
func (l *lease) seat(queue string) *claim {
	l.session.mu.Lock()
	defer l.session.mu.Unlock()
	n := l.numbers[queue]
	if n == nil {
		n = &numbers{}
		l.numbers[queue] = n
	}
	number := n.next
	if last := len(n.free) - 1; last >= 0 {
		number, n.free = n.free[last], n.free[:last]
	} else {
		n.next++
	}
	return &claim{Claim: driver.Claim{Name: queue, ID: l.tag + strconv.Itoa(number), Lease: l.id}, lease: l, number: number}
}

// live makes renewals name the claim from now on. sent is when its acquisition was sent.
func (c *claim) live(token Token, sent time.Time) {
	l := c.lease
	l.mu.Lock()
	defer l.mu.Unlock()
	c.Token, c.member = token, true
	c.until = sent.Add(l.session.opts.TTL - l.session.opts.Margin)
	l.members[c] = struct{}{}
}

// leave makes renewals no longer name the claim. It returns false if it had been called before.
func (c *claim) leave() bool {
	c.lease.mu.Lock()
	defer c.lease.mu.Unlock()
	return c.leaveLocked()
}

func (c *claim) leaveLocked() bool {
	left := c.member
	c.member, c.onLost = false, nil
	delete(c.lease.members, c)
	if c.timer != nil {
		c.timer.Stop()
	}
	return left
}

// listen calls f when the claim is lost but its lease is not, or at once if the claim is already lost.
func (c *claim) listen(f func(*ending)) {
	c.lease.mu.Lock()
	why := c.why
	if c.member {
		c.onLost = f
	}
	c.lease.mu.Unlock()
	if why != nil {
		f(why)
	}
}

// hold calls f like listen, for the claim's grant. From now on the deadline ends the claim.
func (c *claim) hold(f func(*ending)) {
	c.lease.mu.Lock()
	if c.held = c.member; c.held && !c.until.IsZero() {
		c.timer = time.AfterFunc(time.Until(c.until), func() { c.ended() })
	}
	c.lease.mu.Unlock()
	c.listen(f)
}

// deadline returns the time until which the claim certainly exists, less the margin.
func (c *claim) deadline() time.Time {
	c.lease.mu.Lock()
	defer c.lease.mu.Unlock()
	return c.deadlineLocked()
}

func (c *claim) deadlineLocked() time.Time {
	if c.until.IsZero() || c.lease.deadline.Before(c.until) {
		return c.lease.deadline
	}
	return c.until
}

// cover records a successful renewal that named the claim. It does not revive a grant that has ended. The caller holds lease.mu.
func (c *claim) cover() {
	if c.held && !time.Now().Before(c.deadlineLocked()) {
		return
	}
	c.until = time.Time{}
	if c.timer != nil {
		c.timer.Stop()
	}
}

// ended returns why the claim has ended, also by the clock, or nil.
func (c *claim) ended() *ending {
	if why := c.lease.lost(); why != nil {
		return why
	}
	l := c.lease
	l.mu.Lock()
	why, late := c.why, c.member && !time.Now().Before(c.deadlineLocked())
	l.mu.Unlock()
	if why == nil && late {
		opts := l.session.opts
		return c.lose(&ending{endExpired, fmt.Errorf("%w: no renewal that includes it has succeeded within %s, less a margin of %s", ErrLost, opts.TTL, opts.Margin)})
	}
	return why
}

// lose ends a claim whose lease continues, and returns the reason.
func (c *claim) lose(why *ending) *ending {
	l := c.lease
	l.mu.Lock()
	listener := c.onLost
	if !c.leaveLocked() {
		defer l.mu.Unlock()
		return c.why
	}
	c.why = why
	l.mu.Unlock()
	if listener != nil {
		listener(why)
	}
	c.remove()
	return why
}

// taint prevents reuse of the claim's ID, because a request about it may be running.
func (c *claim) taint() {
	c.tainted = true
	c.lease.retire()
}

// done stops counting a claim that has left its queue permanently.
func (c *claim) done() {
	l := c.lease
	l.session.mu.Lock()
	defer l.session.mu.Unlock()
	if n := l.numbers[c.Name]; !c.tainted {
		if n.free = append(n.free, c.number); len(n.free) == n.next {
			delete(l.numbers, c.Name)
		}
	}
	l.claims--
	l.dismiss()
}

// abandon removes a claim that is no longer needed from its queue, in the background. It does nothing if the claim was lost.
func (c *claim) abandon() {
	if c.leave() {
		c.remove()
	}
}

// remove removes the claim from its queue in the background. It retries until the engine confirms the removal or the lease has ended.
// After one failure the claim no longer keeps its lease alive. A lease without other claims then ends, and this claim with it.
func (c *claim) remove() {
	c.lease.session.background(c.removeUntilGone) // a closed session has revoked the lease
}

// removeUntilGone returns when the claim has left its queue permanently, or its lease has ended.
func (c *claim) removeUntilGone() {
	l, s := c.lease, c.lease.session
	for attempt := 0; ; attempt++ {
		within, cancel := context.WithTimeout(l.ctx, s.opts.Timeout)
		err := s.driver.Release(within, c.Claim)
		cancel()
		confirmed := err == nil || errors.Is(err, driver.ErrLost)
		if !confirmed {
			c.taint()
		}
		if attempt == 0 {
			c.done()
		}
		if confirmed || backoff.Sleep(l.ctx, s.wait(attempt)) != nil {
			return
		}
	}
}
