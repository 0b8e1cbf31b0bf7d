package synctest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-os/go-os/state/sync/driver"
)

// queues returns the promises of a driver alone, without a session.
func queues() []promise {
	return []promise{
		{Name: "queue/unknown claims and leases are lost", Check: unknownIsLost},
		{Name: "queue/try leaves no claim", Check: tryLeavesNothing},
		{Name: "queue/a claim goes with its lease", Check: claimsGoWithLease},
		{Name: "queue/tokens outlive the queue", Check: tokensOutlive},
		{Name: "queue/names do not meet", Check: namesDoNotMeet},
		{Name: "queue/watch shows the holder", Check: watchShowsHolder},
		{Name: "queue/waiting ends with its context", Check: waitingEnds},
		{Name: "queue/a withdrawn claim does not come back", Check: withdrawn},
		{Name: "queue/renewals report claims that are gone", Check: renewalsReport},
	}
}

// raw returns a driver and a lease on it.
func (r *rig) raw() (driver.Driver, driver.LeaseID) {
	r.Helper()
	d := r.open(r)
	r.mu.Lock()
	r.closes = append(r.closes, func() {
		if err := d.Close(); err != nil {
			r.Errorf("Close: %v", err)
		}
	})
	r.mu.Unlock()
	return d, r.granting(d)
}

func (r *rig) granting(d driver.Driver) driver.LeaseID {
	r.Helper()
	id, err := d.Grant(r.context(), 4*r.ttl) // never renewed
	if err != nil || id == "" {
		r.Fatalf("Grant: %q, %v", id, err)
	}
	return id
}

func claimOn(name string, lease driver.LeaseID) driver.Claim {
	return driver.Claim{Name: name, ID: rand.Text(), Lease: lease, Seats: 1, Value: []byte("v")}
}

// joins adds a claim to a queue, and fails the test unless Acquire's granted equals seat.
func (r *rig) joins(d driver.Driver, c driver.Claim, seat bool) driver.Claim {
	r.Helper()
	t, granted, err := d.Acquire(r.context(), c, false)
	if err != nil || granted != seat || t == 0 {
		r.Fatalf("Acquire: token %d, granted %v, %v; want granted %v", t, granted, err, seat)
	}
	c.Token = t
	return c
}

func unknownIsLost(r *rig) {
	d, lease := r.raw()
	gone := r.granting(d)
	if err := d.Revoke(r.context(), gone); err != nil {
		r.Fatalf("Revoke: %v", err)
	}
	r.is(d.Revoke(r.context(), gone), nil, "Revoke again")
	_, err := d.Renew(r.context(), gone, nil)
	r.is(err, driver.ErrLost, "Renew of a lease that was revoked")
	_, _, err = d.Acquire(r.context(), claimOn(r.name("n"), gone), false)
	r.is(err, driver.ErrLost, "Acquire on a lease that was revoked")
	_, _, err = d.Acquire(r.context(), claimOn(r.name("n"), gone), true)
	r.is(err, driver.ErrLost, "Acquire, to try, on a lease that was revoked")

	c := claimOn(r.name("n"), lease)
	c.Token = 7
	r.is(d.Release(r.context(), c), driver.ErrLost, "Release of a claim that never was")
	r.is(d.Await(r.context(), c), driver.ErrLost, "Await of a claim that never was")
	c = r.joins(d, claimOn(r.name("n"), lease), true)
	r.is(d.Await(r.context(), c), nil, "Await of a claim that has a seat")
	r.is(d.Release(r.context(), c), nil, "Release")
	r.is(d.Release(r.context(), c), driver.ErrLost, "Release again")
	r.is(d.Await(r.context(), c), driver.ErrLost, "Await of a claim that was released")
}

func tryLeavesNothing(r *rig) {
	d, lease := r.raw()
	for seats := 1; seats <= 2; seats++ {
		name := r.name(fmt.Sprint("n", seats))
		var held []driver.Claim
		for range seats {
			c := claimOn(name, lease)
			c.Seats = seats
			t, granted, err := d.Acquire(r.context(), c, true)
			if err != nil || !granted || t == 0 {
				r.Fatalf("Acquire, to try: token %d, granted %v, %v", t, granted, err)
			}
			c.Token = t
			held = append(held, c)
		}
		refused := claimOn(name, lease)
		refused.Seats = seats
		_, granted, err := d.Acquire(r.context(), refused, true)
		r.is(err, driver.ErrHeld, "Acquire, to try, of what is held (granted %v)", granted)
		refused.Token = 7
		r.is(d.Release(r.context(), refused), driver.ErrLost, "Release of what was refused")
		r.is(d.Release(r.context(), held[0]), nil, "Release")
		next := claimOn(name, lease)
		next.Seats = seats
		r.joins(d, next, true)
	}
}

func claimsGoWithLease(r *rig) {
	d, lease := r.raw()
	other := r.granting(d)
	first := r.joins(d, claimOn(r.name("n"), lease), true)
	second := r.joins(d, claimOn(r.name("n"), other), false)
	if err := d.Revoke(r.context(), lease); err != nil {
		r.Fatalf("Revoke: %v", err)
	}
	r.is(d.Await(r.context(), second), nil, "Await after the holder's lease was revoked")
	r.is(d.Await(r.context(), first), driver.ErrLost, "Await of the claim whose lease was revoked")
	if second.Token <= first.Token {
		r.Errorf("token %d came after %d", second.Token, first.Token)
	}
}

func tokensOutlive(r *rig) {
	d, lease := r.raw()
	var last driver.Token
	for range 5 {
		c := r.joins(d, claimOn(r.name("n"), lease), true)
		if c.Token <= last {
			r.Errorf("token %d came after %d", c.Token, last)
		}
		last = c.Token
		r.is(d.Release(r.context(), c), nil, "Release")
	}
}

// namesDoNotMeet holds one lock under each of many names that a driver might confuse.
func namesDoNotMeet(r *rig) {
	d, lease := r.raw()
	base := r.name("")
	names := []string{
		"a", "a/", "a/b", "/a", "a//b", "A", "a b", "a.b", "a*", "a?", "[a]", "{a}", "a{b}c", "%61", "%", "a\x00", "a\n", "ä", "a\u0308", "雪", "🔒",
		"..", ".", "a:b", `a\b`, `"a"`, "a'b", "a_b", "a%b", "~", "a#b",
	}
	for i := range names {
		names[i] = base + names[i]
	}
	names = append(names, base+strings.Repeat("x", r.caps.MaxName-len(base)))
	var tokens []driver.Token
	for _, name := range names {
		t, granted, err := d.Acquire(r.context(), claimOn(name, lease), false)
		if err != nil || !granted {
			r.Errorf("Acquire of %.40q: granted %v, %v", name, granted, err)
		}
		tokens = append(tokens, t)
	}
	for i, name := range names {
		var seen driver.Holder
		err := d.Watch(r.context(), name, func(h driver.Holder) error {
			seen = h
			return errSeen
		})
		if !errors.Is(err, errSeen) || seen.Token != tokens[i] {
			r.Errorf("Watch of %.40q: token %d, %v; want %d", name, seen.Token, err, tokens[i])
		}
	}
}

var errSeen = errors.New("seen")

func watchShowsHolder(r *rig) {
	d, lease := r.raw()
	ctx, cancel := context.WithCancel(r.context())
	defer cancel()
	name := r.name("n")
	seen := make(chan driver.Holder, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- d.Watch(ctx, name, func(h driver.Holder) error {
			seen <- h
			return nil
		})
	}()
	expect := func(want driver.Token, value string) {
		r.Helper()
		deadline := time.After(r.patience())
		for {
			select {
			case h := <-seen:
				if h.Token == want && string(h.Value) == value {
					return
				}
			case <-deadline:
				r.Fatalf("the watch did not show token %d", want)
			}
		}
	}
	expect(0, "")
	first := r.joins(d, claimOn(name, lease), true)
	expect(first.Token, "v")
	second := claimOn(name, lease)
	second.Value = []byte{0, 255, 'w'}
	second = r.joins(d, second, false)
	r.is(d.Release(r.context(), first), nil, "Release")
	expect(second.Token, "\x00\xffw")
	if err := d.Revoke(r.context(), lease); err != nil {
		r.Fatalf("Revoke: %v", err)
	}
	expect(0, "")
	cancel()
	select {
	case err := <-ended:
		r.is(err, context.Canceled, "Watch")
	case <-time.After(time.Second):
		r.Error("Watch goes on a second after its context")
	}
	if extra := len(seen); extra > 1 {
		r.Errorf("%d more calls of emit after the last change", extra)
	}
}

func waitingEnds(r *rig) {
	d, lease := r.raw()
	r.joins(d, claimOn(r.name("n"), lease), true)
	c := r.joins(d, claimOn(r.name("n"), lease), false)
	for _, delay := range []time.Duration{0, 100 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(r.context(), delay)
		began := time.Now()
		r.is(d.Await(ctx, c), context.DeadlineExceeded, "Await")
		cancel()
		if took := time.Since(began); took > delay+time.Second {
			r.Errorf("Await ended %s after its context", took-delay)
		}
	}
	r.is(d.Release(r.context(), c), nil, "Release of a claim that nobody awaits any more")
}

// withdrawn withdraws claims before and after their acquisitions arrive.
func withdrawn(r *rig) {
	d, lease := r.raw()
	name := r.name("n")
	withdraw := func(c driver.Claim) {
		r.Helper()
		c.Token = 0
		if err := d.Release(r.context(), c); err != nil && !errors.Is(err, driver.ErrLost) {
			r.Errorf("Release without a token: %v", err)
		}
	}
	refused := func(c driver.Claim, try bool) {
		r.Helper()
		c.Token = 0
		if _, granted, err := d.Acquire(r.context(), c, try); err == nil {
			r.Errorf("Acquire (to try: %v) of a claim that was withdrawn succeeds, granted: %v", try, granted)
		}
		if h := r.holder(d, name); h.Token != 0 {
			r.Errorf("after a withdrawal, token %d holds the name", h.Token)
		}
	}
	for _, try := range []bool{false, true} {
		c := claimOn(name, lease)
		withdraw(c)
		refused(c, try)
		withdraw(c)
		refused(c, try)
	}
	c := r.joins(d, claimOn(name, lease), true)
	withdraw(c)
	refused(c, false)
	same := c
	same.Name += "x"
	r.joins(d, same, true)                 // IDs are separate per name
	r.joins(d, claimOn(name, lease), true) // other claims on the name are not affected
	if err := d.Revoke(r.context(), lease); err != nil {
		r.Fatalf("Revoke: %v", err)
	}
	withdraw(claimOn(name, lease))
}

// holder returns the holder of the first seat of a name.
func (r *rig) holder(d driver.Driver, name string) (holder driver.Holder) {
	r.Helper()
	err := d.Watch(r.context(), name, func(h driver.Holder) error {
		holder = h
		return errSeen
	})
	if !errors.Is(err, errSeen) {
		r.Fatalf("Watch: %v", err)
	}
	return holder
}

// renewalsReport renews claims of which some are gone: released, or released and created again under the same ID.
func renewalsReport(r *rig) {
	d, lease := r.raw()
	n, m := r.name("n"), r.name("m")
	renews := func(claims []driver.Claim, want ...driver.Claim) {
		r.Helper()
		gone, err := d.Renew(r.context(), lease, claims)
		if err != nil {
			r.Fatalf("Renew: %v", err)
		}
		same := func(a, b driver.Claim) bool { return a.Name == b.Name && a.Token == b.Token }
		if !slices.EqualFunc(gone, want, same) {
			r.Errorf("Renew reports that %v are gone, want %v", gone, want)
		}
	}
	first, second := r.joins(d, claimOn(n, lease), true), r.joins(d, claimOn(m, lease), true)
	waiting := r.joins(d, claimOn(n, lease), false)
	renews(nil)
	renews([]driver.Claim{first, second, waiting})
	r.is(d.Release(r.context(), second), nil, "Release")
	renews([]driver.Claim{first, second, waiting}, second)
	again := second
	again.Token = 0
	again = r.joins(d, again, true)
	renews([]driver.Claim{first, again, waiting})
	renews([]driver.Claim{waiting, second}, second) // its ID now belongs to another claim
	r.is(d.Await(r.context(), second), driver.ErrLost, "Await of a claim whose ID another one has by now")
	r.is(d.Release(r.context(), waiting), nil, "Release of a claim that waits")
	renews([]driver.Claim{first, again, waiting}, waiting)
	r.is(d.Await(r.context(), first), nil, "Await of a claim that was there all the time")
	many := []driver.Claim{first}
	for i := range 150 { // more than engines accept in one transaction
		many = append(many, r.joins(d, claimOn(r.name(fmt.Sprint("many", i)), lease), true))
	}
	last := many[len(many)-1]
	r.is(d.Release(r.context(), last), nil, "Release of the last of many")
	renews(many, last)
}
