// Package life implements the lifetime of a type. Close ends it and cancels the calls that are blocked; later calls fail with fault.Closed.
//
//	type Store struct {
//		life life.Life
//	}
//
//	func (s *Store) Watch(ctx context.Context) error {
//		if err := s.life.Err(); err != nil {
//			return err
//		}
//		ctx, cancel := s.life.Within(ctx)
//		defer cancel()
//		…
//	}
//
//	func (s *Store) Close() error {
//		if !s.life.End() {
//			return nil // closed before
//		}
//		…
//	}
//
// [Running] lets a method such as Run run only once at a time.
package life

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/go-os/go-os/internal/fault"
)

// Life lasts until End. The zero value is alive. It is safe for concurrent use and must not be copied.
type Life struct {
	over atomic.Bool

	mu      sync.Mutex
	cancels map[*context.CancelCauseFunc]struct{} // of the contexts of Within
	done    chan struct{}                         // nil until Done is called
}

// Err returns fault.Closed after End, and nil before. It costs one atomic load.
func (l *Life) Err() error {
	if l.over.Load() {
		return fault.Closed
	}
	return nil
}

// Within returns a context that ends with ctx and with the life. When the life ends, its cause is fault.Closed. The caller must call
// cancel.
func (l *Life) Within(ctx context.Context) (within context.Context, cancel context.CancelFunc) {
	within, end := context.WithCancelCause(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over.Load() {
		end(fault.Closed)
		return within, func() {}
	}
	if l.cancels == nil {
		l.cancels = make(map[*context.CancelCauseFunc]struct{})
	}
	l.cancels[&end] = struct{}{}
	return within, func() {
		l.mu.Lock()
		delete(l.cancels, &end)
		l.mu.Unlock()
		end(nil)
	}
}

// Cause returns why a call under ctx cannot continue: fault.Closed, the error of ctx, or nil if neither has ended. ctx may also be a
// context of Within, or derived from one.
func (l *Life) Cause(ctx context.Context) error {
	switch {
	case context.Cause(ctx) == fault.Closed:
		return fault.Closed
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return l.Err()
	}
}

// Done returns a channel that End closes.
func (l *Life) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done = make(chan struct{})
		if l.over.Load() {
			close(l.done)
		}
	}
	return l.done
}

// End ends the life. When it returns, the contexts of Within are canceled. It returns false if the life had ended before.
func (l *Life) End() bool {
	l.mu.Lock()
	if l.over.Swap(true) {
		l.mu.Unlock()
		return false
	}
	cancels := l.cancels
	l.cancels = nil
	if l.done != nil {
		close(l.done)
	}
	l.mu.Unlock()
	for cancel := range cancels { // without the lock: canceling a context may run code of the caller
		(*cancel)(fault.Closed)
	}
	return true
}

// Running lets a method run only once at a time. The zero value is idle. It must not be copied.
type Running struct{ busy atomic.Bool }

// Begin returns fault.Invalid if the method is already running. Otherwise the caller must call end.
func (r *Running) Begin() (end func(), err error) {
	if !r.busy.CompareAndSwap(false, true) {
		return nil, fmt.Errorf("%w: already running", fault.Invalid)
	}
	return func() { r.busy.Store(false) }, nil
}
