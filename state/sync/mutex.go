package sync

import "context"

// Mutex is a lock that one process holds at a time. It also excludes other goroutines of the same process. It has no state of its own:
// all Mutexes of one name are the same lock.
type Mutex struct{ primitive }

// Mutex returns the lock of this name. If the name is empty, not UTF-8 or too long for the engine, its methods return ErrInvalid.
func (s *Session) Mutex(name string) *Mutex {
	return &Mutex{s.primitive(s.mutex, name, 1)}
}

// Lock waits for the lock. The caller must release the grant, or others wait until the session ends. Lock returns the error of ctx if that
// ends first, ErrHeld if ctx belongs to a grant of this lock, ErrUnavailable, ErrDenied, ErrInvalid or ErrClosed.
//
// The grant outlives ctx, which limits only the wait.
func (m *Mutex) Lock(ctx context.Context) (*Grant, error) {
	return m.acquire(ctx, context.WithoutCancel(ctx), nil, false)
}

// TryLock takes the lock like Lock, but returns ErrHeld at once if it is held.
func (m *Mutex) TryLock(ctx context.Context) (*Grant, error) {
	return m.acquire(ctx, context.WithoutCancel(ctx), nil, true)
}

// Do locks, calls f, and releases the lock. The context of f ends with ctx and with the grant. Do returns the error of f, and ErrLost if
// the grant ended before f returned.
func (m *Mutex) Do(ctx context.Context, f func(context.Context, *Grant) error) error {
	g, err := m.acquire(ctx, ctx, nil, false)
	if err != nil {
		return err
	}
	return g.do(ctx, f)
}
