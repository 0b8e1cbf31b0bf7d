package sync

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	gosync "sync"
	"time"

	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/state/internal/leases"
	"github.com/go-os/go-os/state/sync/driver"
)

// ending is the reason for the end of a lease or a grant. It is the cause of its context.
type ending struct {
	end string // endExpired, …
	err error
}

func (o *ending) Error() string { return o.err.Error() }
func (o *ending) Unwrap() error { return o.err }

// lease is a lease of a session, with its claims. It is renewed until it is lost or no longer needed.
type lease struct {
	session *Session
	id      driver.LeaseID
	granted time.Time       // when the request for it was sent
	ctx     context.Context // ends with the lease; the cause is an *ending
	end     context.CancelCauseFunc

	mu       gosync.Mutex
	deadline time.Time // the time until which it certainly exists, less the margin
	timer    *time.Timer
	members  map[*claim]struct{} // the claims that renewals name

	tag string // the beginning of the IDs of its claims

	// Guarded by session.mu.
	claims  int                 // number of claims that need the lease
	retired bool                // takes no new claims, and ends with the last one
	numbers map[string]*numbers // of its claims, by queue
}

// open returns the session's lease, and counts a claim on it: the caller must call claim.done. It requests a lease if there is none. The
// request continues even if the caller gives up, since a lease of unknown ID could not be revoked. Time that a caller waits for another
// caller's request counts towards its own Options.Timeout.
func (s *Session) open(ctx context.Context) (*lease, error) {
	began := time.Now()
	if err := s.turn(ctx); err != nil {
		return nil, err
	}
	done := func() { <-s.opening }
	if l, err := s.join(); l != nil || err != nil {
		done()
		return l, err
	}
	granted := make(chan error, 1)
	if !s.background(func() { granted <- s.grant(context.WithoutCancel(ctx)) }) {
		done()
		return nil, ErrClosed
	}
	late := time.NewTimer(s.opts.Timeout - time.Since(began))
	defer late.Stop()
	var err error
	select {
	case err := <-granted:
		defer done()
		if err != nil {
			return nil, err
		}
		return s.join()
	case <-ctx.Done():
		err = ctx.Err()
	case <-late.C:
		err = s.unanswered()
	}
	go func() {
		<-granted
		done()
	}()
	return nil, err
}

// turn waits until no other caller requests a lease.
func (s *Session) turn(ctx context.Context) error {
	select {
	case s.opening <- struct{}{}:
		return nil
	default:
	}
	late := time.NewTimer(s.opts.Timeout)
	defer late.Stop()
	select {
	case s.opening <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.life.Done():
		return ErrClosed
	case <-late.C:
		return s.unanswered()
	}
}

// unanswered returns the error of a call that the engine did not answer in time.
func (s *Session) unanswered() error {
	return fmt.Errorf("%w: no answer within %s", ErrUnavailable, s.opts.Timeout)
}

// background runs f in a goroutine that Close waits for. It returns false if the session is closed.
func (s *Session) background(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		return false
	}
	s.work.Go(f)
	return true
}

// grant requests a lease and makes it the current one.
func (s *Session) grant(ctx context.Context) error {
	within, leave := s.life.Within(ctx)
	defer leave()
	within, cancel := s.request(within)
	defer cancel()
	sent := time.Now()
	id, err := s.driver.Grant(within, s.opts.TTL)
	if err != nil {
		return s.classify(ctx, err)
	}
	l := &lease{session: s, id: id, granted: sent, deadline: sent.Add(s.opts.TTL - s.opts.Margin), tag: rand.Text() + "x",
		members: map[*claim]struct{}{}, numbers: map[string]*numbers{}}
	l.ctx, l.end = context.WithCancelCause(context.Background())
	if !s.begin(l) {
		l.revoke()
		return ErrClosed
	}
	return nil
}

// join counts a claim on the current lease. It returns nil if there is none.
func (s *Session) join() (*lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch l := s.current; {
	case s.life.Err() != nil, s.draining:
		return nil, ErrClosed
	case l == nil, l.late(), l.ctx.Err() != nil:
		return nil, nil
	default:
		l.claims++
		return l, nil
	}
}

// begin makes a lease the current one and starts its renewals. It returns false if the session was closed meanwhile.
func (s *Session) begin(l *lease) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		return false
	}
	l.mu.Lock()
	l.timer = time.AfterFunc(time.Until(l.deadline), func() { l.lost() })
	l.mu.Unlock()
	s.current, s.leases[l] = l, struct{}{}
	s.work.Go(l.keep)
	return true
}

// retire ends the lease when its last claim ends; new claims get another lease. It is for a lease that may have a claim of unknown outcome.
func (l *lease) retire() {
	l.session.mu.Lock()
	defer l.session.mu.Unlock()
	l.retired = true
	if l.session.current == l {
		l.session.current = nil
	}
	l.dismiss()
}

// dismiss ends a retired lease without claims. The caller holds session.mu.
func (l *lease) dismiss() {
	if !l.retired || l.claims > 0 || l.ctx.Err() != nil {
		return
	}
	l.finish(endReleased, ErrLost)
	delete(l.session.leases, l)
	if l.session.life.Err() == nil { // otherwise Close does not wait for it
		l.session.work.Go(l.revoke)
	}
}

// revokeWithin limits the revocation of a lease to most of the second that Close may take.
const revokeWithin = 800 * time.Millisecond

// revoke ends the lease at the engine. If that fails, it ends after its TTL.
func (l *lease) revoke() {
	ctx, cancel := context.WithTimeout(context.Background(), min(l.session.opts.Timeout, revokeWithin))
	defer cancel()
	_ = l.session.driver.Revoke(ctx, l.id)
}

// keep renews the lease until it ends.
func (l *lease) keep() {
	s := l.session
	upkeep := leases.Upkeep{
		TTL: s.opts.TTL, Margin: s.opts.Margin, Renew: l.renew,
		Final:  func(err error) bool { return errors.Is(err, driver.ErrLost) },
		Retry:  func(failures int) time.Duration { return min(s.wait(failures-1), s.opts.TTL/12) },
		Failed: func(err error) { s.renewalFailed.EmitError(l.ctx, err, s.systemOnly) },
	}
	if err := upkeep.Run(l.ctx, l.granted, s.opts.TTL/3); errors.Is(err, driver.ErrLost) {
		l.lose(endRevoked, fmt.Errorf("%w: %s no longer knows the lease", ErrLost, s.caps.System))
	} else if err != nil {
		l.lost() // by the clock
	}
}

// renew sends one renewal, no earlier than sent.
func (l *lease) renew(ctx context.Context, sent time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, l.session.opts.Timeout)
	defer cancel()
	named := l.living()
	claims := make([]driver.Claim, len(named))
	for i, c := range named {
		claims[i] = c.Claim
	}
	gone, err := l.session.driver.Renew(ctx, l.id, claims)
	if err != nil {
		return err
	}
	missing := make(map[place]struct{}, len(gone))
	for _, c := range gone {
		missing[place{c.Name, c.Token}] = struct{}{}
	}
	var covered, lost []*claim
	for _, c := range named {
		if _, gone := missing[place{c.Name, c.Token}]; gone {
			lost = append(lost, c)
		} else {
			covered = append(covered, c)
		}
	}
	l.extend(sent, covered)
	for _, c := range lost { // lose ignores claims that were released meanwhile
		c.lose(&ending{endRevoked, fmt.Errorf("%w: %s no longer has the claim", ErrLost, l.session.caps.System)})
	}
	return nil
}

// place identifies a claim in a renewal. Unlike an ID, a token is never used again.
type place struct {
	queue string
	token Token
}

// living returns the claims that renewals name.
func (l *lease) living() []*claim {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.members))
}

// extend moves the deadline after a renewal. It counts from when the renewal was sent, because the engine received it no earlier. It
// covers the claims that the renewal named. It does not revive a lease or a claim that has ended by the clock, because its grants have
// ended.
func (l *lease) extend(sent time.Time, covered []*claim) {
	if l.lost() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range covered {
		c.cover()
	}
	l.deadline = sent.Add(l.session.opts.TTL - l.session.opts.Margin)
	l.timer.Reset(time.Until(l.deadline))
}

// late reports whether the deadline has passed.
func (l *lease) late() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !time.Now().Before(l.deadline)
}

// lost returns the reason if the lease has ended, also by the clock, or nil.
func (l *lease) lost() *ending {
	if l.ctx.Err() == nil && l.late() {
		l.lose(endExpired, fmt.Errorf("%w: no renewal has succeeded within %s, less a margin of %s", ErrLost, l.session.opts.TTL, l.session.opts.Margin))
	}
	if l.ctx.Err() == nil {
		return nil
	}
	why := &ending{endClosed, ErrClosed}
	errors.As(context.Cause(l.ctx), &why)
	return why
}

// finish ends the lease, and its claims with it.
func (l *lease) finish(end string, err error) {
	l.end(&ending{end, err})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer.Stop()
}

// lose ends a lease that the session has lost.
func (l *lease) lose(end string, err error) {
	l.finish(end, err)
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ours := s.leases[l]; !ours || s.life.Err() != nil {
		return
	}
	delete(s.leases, l)
	if s.current == l {
		s.current = nil
	}
	s.work.Go(l.revoke) // so that others need not wait for the end of the TTL, or for remaining claims
}

// request limits the time of one request. It uses a timer, not a deadline: clients send deadlines to servers, which then set up timers as
// well.
func (s *Session) request(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(s.opts.Timeout, cancel)
	return ctx, func() {
		late.Stop()
		cancel()
	}
}

// classify classifies the error of a request. The end of the session and of the caller's context take precedence. If the request has
// timed out, the engine is unavailable.
func (s *Session) classify(ctx context.Context, err error) error {
	switch {
	case s.life.Err() != nil:
		return fault.Classify(ErrClosed, err)
	case ctx.Err() != nil:
		return fault.Classify(ctx.Err(), err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return fmt.Errorf("%w: no answer within %s: %w", ErrUnavailable, s.opts.Timeout, noContext{err})
	default:
		return err
	}
}

// noContext hides the error of a request's own context, which the caller must not mistake for its own.
type noContext struct{ err error }

func (n noContext) Error() string { return n.err.Error() }

// Is implements errors.Is, but does not match the errors of contexts.
func (n noContext) Is(target error) bool {
	return target != context.Canceled && target != context.DeadlineExceeded && errors.Is(n.err, target)
}

func (n noContext) As(target any) bool { return errors.As(n.err, target) }
