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

// spy is a driver that records a session's calls. It can block or lose them, as a failing process or network would.
type spy struct {
	driver.Driver
	acquired atomic.Int64 // the number of returned Acquire calls

	mu     gosync.Mutex
	leases []driver.LeaseID // granted, in order
	claims []driver.Claim   // created by Acquire, in order
	sent   time.Time        // the time of the last Acquire
	renews int              // the number of successful renewals
	delay  time.Duration    // delay of answers to Acquire
	frozen chan struct{}    // nil unless all calls block; closed by thaw
	lose   int              // the number of Acquire answers to lose
	late   time.Duration    // if positive, delay of the lost Acquire requests
	forget int              // the number of Release answers to lose; these requests are sent after late
	slow   time.Duration    // delay of answers to Renew
}

// freeze blocks all calls until thaw. To the engine, the process is dead.
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

// lease returns the lease that was granted last.
func (s *spy) lease() driver.LeaseID {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.leases) == 0 {
		return ""
	}
	return s.leases[len(s.leases)-1]
}

// leaseOf returns the lease of a token's claim.
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

// claim returns the claim that was created last.
func (s *spy) claim() driver.Claim {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claims[len(s.claims)-1]
}

// renewals returns the number of successful renewals.
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
	return s.pass(context.WithoutCancel(ctx)) // a stopped process still receives its answer
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
