package sync

import "context"

// Semaphore is a number of seats that processes share. It has no state of its own: all Semaphores of one name are the same. They must
// have the same number of seats: each applies its own, so a larger one admits more.
type Semaphore struct{ primitive }

// Semaphore returns the semaphore of this name with n seats. If n is below one, or the name is invalid as for Mutex, its methods return
// ErrInvalid.
func (s *Session) Semaphore(name string, n int) *Semaphore {
	return &Semaphore{s.primitive(s.semaphore, name, n)}
}

// Acquire waits for a seat, as [Mutex.Lock] does for a lock. A caller that holds a seat may wait for another.
func (m *Semaphore) Acquire(ctx context.Context) (*Grant, error) {
	return m.acquire(ctx, context.WithoutCancel(ctx), nil, false)
}

// TryAcquire takes a seat like Acquire, but returns ErrHeld at once if all seats are taken.
func (m *Semaphore) TryAcquire(ctx context.Context) (*Grant, error) {
	return m.acquire(ctx, context.WithoutCancel(ctx), nil, true)
}

// Do acquires a seat, calls f, and releases it, as [Mutex.Do] does.
func (m *Semaphore) Do(ctx context.Context, f func(context.Context, *Grant) error) error {
	g, err := m.acquire(ctx, ctx, nil, false)
	if err != nil {
		return err
	}
	return g.do(ctx, f)
}
