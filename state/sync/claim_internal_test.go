package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	gosync "sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/memsync"
	"github.com/go-os/go-os/telemetry"
)

// failing is a driver whose calls fail on demand.
type failing struct {
	*memsync.Driver

	mu      gosync.Mutex
	renew   error
	release error // error of this many calls
	times   int
	acquire int // number of calls whose answer is lost
	revoked []driver.LeaseID
}

func (f *failing) Acquire(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, granted, err := f.Driver.Acquire(ctx, c, try)
	if f.acquire > 0 {
		f.acquire--
		return 0, false, driver.ErrUnavailable
	}
	return t, granted, err
}

func (f *failing) Renew(ctx context.Context, id driver.LeaseID, claims []driver.Claim) ([]driver.Claim, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.renew != nil {
		return nil, f.renew
	}
	return f.Driver.Renew(ctx, id, claims)
}

func (f *failing) Release(ctx context.Context, c driver.Claim) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.times > 0 {
		f.times--
		return f.release
	}
	return f.Driver.Release(ctx, c)
}

func (f *failing) Revoke(ctx context.Context, id driver.LeaseID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoked = append(f.revoked, id)
	return f.Driver.Revoke(ctx, id)
}

// TestRevokedLeavesNothing uses an engine that reports a lease as lost but still has its claims. The session removes them.
func TestRevokedLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := memsync.NewSpace()
		f := &failing{Driver: memsync.New(&memsync.Options{Space: space}), renew: fmt.Errorf("%w: the engine has forgotten it", driver.ErrLost)}
		a := New(f, &Options{TTL: time.Minute, Telemetry: telemetry.Off()})
		b := New(memsync.New(&memsync.Options{Space: space}), &Options{Telemetry: telemetry.Off()})
		defer a.Close()
		defer b.Close()
		g, err := a.Mutex("m").Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		<-g.Context().Done()
		synctest.Wait()
		if !slices.Contains(f.revoked, g.claim.Lease) {
			t.Errorf("the lease %s was lost and not revoked, only %v", g.claim.Lease, f.revoked)
		}
		next, err := b.Mutex("m").TryLock(t.Context())
		if err != nil {
			t.Errorf("TryLock right after the session has lost its lease: %v", err)
		} else {
			_ = next.Release(t.Context())
		}
	})
}

// TestBookkeeping ends claims in every possible way, many times, and checks the session's internal state.
func TestBookkeeping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := memsync.NewSpace()
		f := &failing{Driver: memsync.New(&memsync.Options{Space: space}), release: driver.ErrUnavailable}
		hand := memsync.New(&memsync.Options{Space: space})
		defer hand.Close()
		s := New(f, &Options{TTL: time.Minute, Telemetry: telemetry.Off()})
		defer s.Close()
		lock := func(name string) *Grant {
			g, err := s.Mutex(name).Lock(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return g
		}
		ends := []func(g *Grant){
			func(g *Grant) { space.Revoke(g.claim.Lease); <-g.Context().Done() }, // first, since it ends the lease that the others use
			func(g *Grant) { _ = g.Release(t.Context()) },
			func(g *Grant) { // another caller waits and gives up
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, _ = s.Mutex(g.of.name).Lock(ctx)
				_, _ = s.Mutex(g.of.name).TryLock(t.Context())
				_ = g.Release(t.Context())
			},
			func(g *Grant) { // removed by hand
				_ = hand.Release(t.Context(), g.claim.Claim)
				<-g.Context().Done()
			},
			func(g *Grant) { // the release fails, and so does its first retry in the background, while another grant keeps the lease alive
				beside := lock(g.of.name + " beside")
				f.mu.Lock()
				f.times = 2
				f.mu.Unlock()
				_ = g.Release(t.Context())
				time.Sleep(time.Minute)
				_ = beside.Release(t.Context())
			},
			func(g *Grant) { // only the release fails
				f.mu.Lock()
				f.times = 1
				f.mu.Unlock()
				_ = g.Release(t.Context())
			},
		}
		for i := range 60 {
			ends[i%len(ends)](lock(fmt.Sprint("m", i)))
		}
		time.Sleep(time.Hour)
		last := lock("last")
		if err := last.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.leases) != 1 || len(s.grants) != 0 {
			t.Errorf("the session has %d leases and %d grants, want 1 and 0", len(s.leases), len(s.grants))
		}
		l := s.current
		if l == nil || l.claims != 0 || len(l.numbers) != 0 || len(l.members) != 0 {
			t.Errorf("the lease has %d claims, numbers of %d queues and %d members, want none", l.claims, len(l.numbers), len(l.members))
		}
	})
}

// TestWithdrawnUntilConfirmed loses the answers to an acquisition and to the first withdrawals of its claim, while another grant keeps
// the lease alive. The session repeats the withdrawal until it is confirmed.
func TestWithdrawnUntilConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := memsync.NewSpace()
		f := &failing{Driver: memsync.New(&memsync.Options{Space: space}), release: driver.ErrUnavailable}
		s := New(f, &Options{TTL: time.Minute, Telemetry: telemetry.Off()})
		other := New(memsync.New(&memsync.Options{Space: space}), &Options{Telemetry: telemetry.Off()})
		defer s.Close()
		defer other.Close()
		job, err := s.Mutex("job").Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		f.acquire, f.times = 1, 5
		f.mu.Unlock()
		if _, err := s.Mutex("m").Lock(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("Lock whose answer is lost: %v", err)
		}
		time.Sleep(20 * time.Second)
		if err := job.Lost(); err != nil {
			t.Errorf("Lost of the other grant: %v", err)
		}
		g, err := other.Mutex("m").TryLock(t.Context())
		if err != nil {
			t.Errorf("TryLock of what nobody holds: %v", err)
		} else {
			_ = g.Release(t.Context())
		}
	})
}

// TestUncoveredGrantEnds makes renewals succeed without the claim of a grant. The grant ends at its own deadline, and its claim is
// released.
func TestUncoveredGrantEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := memsync.NewSpace()
		s := New(memsync.New(&memsync.Options{Space: space}), &Options{TTL: time.Second, Margin: 100 * time.Millisecond, Telemetry: telemetry.Off()})
		other := New(memsync.New(&memsync.Options{Space: space}), &Options{Telemetry: telemetry.Off()})
		defer s.Close()
		defer other.Close()
		sent := time.Now()
		g, err := s.Mutex("m").Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l := g.claim.lease
		l.mu.Lock()
		delete(l.members, g.claim)
		l.mu.Unlock()
		select {
		case <-g.Context().Done():
		case <-time.After(time.Minute):
			t.Fatal("the context goes on for a minute")
		}
		if took := time.Since(sent); took != 900*time.Millisecond {
			t.Errorf("the context ended after %s, want 900ms", took)
		}
		if err := g.Lost(); !errors.Is(err, ErrLost) {
			t.Errorf("Lost: %v", err)
		}
		if l.ctx.Err() != nil {
			t.Error("the lease is over, too")
		}
		synctest.Wait()
		if next, err := other.Mutex("m").TryLock(t.Context()); err != nil {
			t.Errorf("TryLock of what has ended: %v", err)
		} else {
			_ = next.Release(t.Context())
		}
	})
}
