package synctest

import (
	"context"
	"fmt"
	"slices"
	gosync "sync"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/state/sync/driver"
)

// spy is a driver that sees what the session asks, and can keep it from being done, as if the process or its network had failed.
type spy struct {
	driver.Driver
	acquired atomic.Int64 // Acquire has returned so often

	mu     gosync.Mutex
	leases []driver.LeaseID // granted, in order
	claims []driver.Claim   // that Acquire has made, in order
	sent   time.Time        // the last Acquire
	renews int              // Renew has succeeded so often
	delay  time.Duration    // answers to Acquire take so long to come back
	frozen chan struct{}    // nil unless nothing gets through; closed by thaw
	lose   int              // so many answers of Acquire are lost on their way
	late   time.Duration    // so much later are they asked for, if above zero
	forget int              // so many answers of Release are lost, and it is asked for after late
	slow   time.Duration    // answers to Renew take so long to come back
}

// freeze lets nothing through until thaw: to the engine, the process is dead.
func (s *spy) freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen == nil {
		s.frozen = make(chan struct{})
	}
}

func (s *spy) thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen != nil {
		close(s.frozen)
		s.frozen = nil
	}
}

// pass waits while the process is frozen.
func (s *spy) pass(ctx context.Context) error {
	s.mu.Lock()
	frozen := s.frozen
	s.mu.Unlock()
	if frozen == nil {
		return nil
	}
	select {
	case <-frozen:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lease returns the one that was granted last.
func (s *spy) lease() driver.LeaseID {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.leases) == 0 {
		return ""
	}
	return s.leases[len(s.leases)-1]
}

// leaseOf returns the one that a token's claim lives with.
func (s *spy) leaseOf(t driver.Token) driver.LeaseID {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range slices.Backward(s.claims) {
		if c.Token == t {
			return c.Lease
		}
	}
	return ""
}

// claim returns the one that was made last.
func (s *spy) claim() driver.Claim {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claims[len(s.claims)-1]
}

// renewals returns how many have succeeded.
func (s *spy) renewals() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.renews
}

func (s *spy) Grant(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
	if err := s.pass(ctx); err != nil {
		return "", err
	}
	id, err := s.Driver.Grant(ctx, ttl)
	if err == nil {
		s.mu.Lock()
		s.leases = append(s.leases, id)
		s.mu.Unlock()
	}
	return id, err
}

func (s *spy) Renew(ctx context.Context, id driver.LeaseID, claims []driver.Claim) ([]driver.Claim, error) {
	if err := s.pass(ctx); err != nil {
		return nil, err
	}
	gone, err := s.Driver.Renew(ctx, id, claims)
	s.mu.Lock()
	slow := s.slow
	if err == nil {
		s.renews++
	}
	s.mu.Unlock()
	if slow > 0 {
		time.Sleep(slow)
	}
	return gone, err
}

func (s *spy) Revoke(ctx context.Context, id driver.LeaseID) error {
	if err := s.pass(ctx); err != nil {
		return err
	}
	return s.Driver.Revoke(ctx, id)
}

var errAnswerLost = fmt.Errorf("%w: the answer is lost", driver.ErrUnavailable)

func (s *spy) Acquire(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
	if err := s.pass(ctx); err != nil {
		return 0, false, err
	}
	s.mu.Lock()
	lost, late := s.lose > 0, s.late
	if lost {
		s.lose--
	}
	s.sent = time.Now()
	delay := s.delay
	s.mu.Unlock()
	if lost && late > 0 {
		time.AfterFunc(late, func() { _, _, _ = s.Driver.Acquire(context.WithoutCancel(ctx), c, try) })
		return 0, false, errAnswerLost
	}
	t, granted, err := s.Driver.Acquire(ctx, c, try)
	if lost {
		return 0, false, errAnswerLost
	}
	if delay > 0 {
		time.Sleep(delay)
	}
	if err == nil {
		s.mu.Lock()
		c.Token = t
		s.claims = append(s.claims, c)
		s.mu.Unlock()
	}
	s.acquired.Add(1)
	return t, granted, err
}

func (s *spy) Await(ctx context.Context, c driver.Claim) error {
	if err := s.pass(ctx); err != nil {
		return err
	}
	if err := s.Driver.Await(ctx, c); err != nil {
		return err
	}
	return s.pass(context.WithoutCancel(ctx)) // a process that was stopped has its answer all the same
}

func (s *spy) Release(ctx context.Context, c driver.Claim) error {
	if err := s.pass(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	lost := s.forget > 0
	if lost {
		s.forget--
	}
	s.mu.Unlock()
	if lost {
		time.AfterFunc(s.late, func() { _ = s.Driver.Release(context.WithoutCancel(ctx), c) })
		return errAnswerLost
	}
	return s.Driver.Release(ctx, c)
}
