package sync

import "context"

// Semaphore is a number of seats that the processes of all share. It has no state of its own: any number of Semaphores of one name
// are the same one, as long as they agree on the number of seats. Each counts by its own: if they do not agree, the larger one lets more in.
type Semaphore struct{ primitive }

// Semaphore returns the semaphore of this name with n seats. A name as for Mutex, and n of one at least, or its methods return ErrInvalid.
func (s *Session) Semaphore(name string, n int) *Semaphore {
	return &Semaphore{s.primitive(s.semaphore, name, n)}
}

// Acquire waits for a seat. Everything else is as for [Mutex.Lock]; but a caller who holds one seat may wait for another.
func (m *Semaphore) Acquire(ctx context.Context) (*Grant, error) {
	return m.acquire(ctx, context.WithoutCancel(ctx), nil, false)
}

// TryAcquire is Acquire, but returns ErrHeld at once if all seats are taken.
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
