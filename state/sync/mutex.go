package sync

import "context"

// Mutex is a lock that one process of all holds at a time. Goroutines of one process exclude each other too. It has no state of its
// own: any number of Mutexes of one name are the same lock.
type Mutex struct{ primitive }

// Mutex returns the lock of this name: not empty, valid UTF-8, and short enough for the engine, or its methods return ErrInvalid.
func (s *Session) Mutex(name string) *Mutex {
	return &Mutex{s.primitive(s.mutex, name, 1)}
}

// Lock waits until the lock is this caller's. Release the grant, or everybody waits until the session ends. It returns the error of ctx
// if that ends first, and no grant then; ErrHeld if ctx is that of a grant of this lock; ErrUnavailable, ErrInvalid, or ErrClosed.
//
// The grant outlives ctx, which bounds the waiting alone.
func (m *Mutex) Lock(ctx context.Context) (*Grant, error) {
	return m.acquire(ctx, context.WithoutCancel(ctx), nil, false)
}

// TryLock is Lock, but returns ErrHeld at once if the lock is held.
func (m *Mutex) TryLock(ctx context.Context) (*Grant, error) {
	return m.acquire(ctx, context.WithoutCancel(ctx), nil, true)
}

// Do locks, calls f, and releases the lock. The context of f ends with ctx, and with the grant. Do returns the error of f, and ErrLost
// if the grant ended before f did.
func (m *Mutex) Do(ctx context.Context, f func(context.Context, *Grant) error) error {
	g, err := m.acquire(ctx, ctx, nil, false)
	if err != nil {
		return err
	}
	return g.do(ctx, f)
}
