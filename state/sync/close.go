package sync

import (
	"context"
	"fmt"
)

// Shutdown waits until all grants are released, and then closes the session. Meanwhile acquisitions return ErrClosed. If ctx ends first,
// Shutdown closes the session anyway, and its error wraps that of ctx.
func (s *Session) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	var idle chan struct{}
	held := len(s.grants)
	if held > 0 {
		if s.idle == nil {
			s.idle = make(chan struct{})
		}
		idle = s.idle
	}
	s.mu.Unlock()
	var late error
	if idle != nil {
		select {
		case <-idle:
		case <-s.life.Done():
		case <-ctx.Done():
			late = &Error{Op: "shutdown", Err: fmt.Errorf("%w: not all of %d grants were released", ctx.Err(), held)}
		}
	}
	if err := s.Close(); err != nil {
		return err
	}
	return late
}

// Close ends all grants with ErrClosed, frees their seats at the engine, and closes the driver. A grant's seat may become free at the
// moment its context ends: release grants first, or use Shutdown. If the engine does not answer, Close takes at most one second, and the
// seats are free after the TTL. A second Close does nothing.
func (s *Session) Close() error {
	s.mu.Lock()
	if !s.life.End() {
		s.mu.Unlock()
		return nil
	}
	s.current = nil
	for l := range s.leases {
		l.finish(endClosed, ErrClosed)
		s.work.Go(l.revoke)
	}
	grants := make([]*Grant, 0, len(s.grants))
	for g := range s.grants {
		grants = append(grants, g)
	}
	s.mu.Unlock()
	for _, g := range grants {
		g.ended()
	}
	s.work.Wait()
	if err := s.driver.Close(); err != nil {
		return &Error{Op: "close", Err: err}
	}
	return nil
}
