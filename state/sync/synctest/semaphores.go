package synctest

import (
	"context"

	"github.com/go-os/go-os/state/sync"
)

func semaphores() []promise {
	return []promise{
		{Name: "semaphore/so many at a time", Check: seats},
		{Name: "semaphore/any seat is handed on", Check: anySeat},
		{Name: "semaphore/a waiter at the head that gives up", Check: headGivesUp},
	}
}

// take acquires n seats of a semaphore.
func (r *rig) take(p process, name string, n int) (held []*sync.Grant) {
	r.Helper()
	for range n {
		g, err := p.Semaphore(name, n).Acquire(r.context())
		if err != nil {
			r.Fatalf("Acquire: %v", err)
		}
		held = append(held, g)
	}
	return held
}

func seats(r *rig) {
	const n = 3
	name := r.name("s")
	a, b := r.process(), r.process()
	held := r.take(a, name, n)
	_, err := b.Semaphore(name, n).TryAcquire(r.context())
	r.is(err, sync.ErrHeld, "TryAcquire of a full one")
	for i := 1; i < n; i++ {
		if held[i].Token() <= held[i-1].Token() {
			r.Errorf("token %d came after %d", held[i].Token(), held[i-1].Token())
		}
	}
	inner, err := a.Semaphore(name+"x", n).Acquire(held[0].Context())
	if err != nil {
		r.Fatalf("Acquire of another: %v", err)
	}
	r.release(inner)
	r.release(held[1])
	err = b.Semaphore(name, n).Do(r.context(), func(context.Context, *sync.Grant) error { return nil })
	r.is(err, nil, "Do with a seat free")
	r.release(held[0])
	r.release(held[2])
}

// anySeat releases the seats in another order than it acquired them.
func anySeat(r *rig) {
	const n = 3
	name := r.name("s")
	a, b := r.process(), r.process()
	held := r.take(a, name, n)
	var waiting []<-chan outcome
	for range 2 * n {
		waiting = append(waiting, r.wait(r.context(), b, b.Semaphore(name, n).Acquire))
	}
	for _, i := range []int{1, 2, 0} {
		r.release(held[i])
		held[i] = r.granted(waiting[0], "the first waiter").grant
		waiting = waiting[1:]
		for _, w := range waiting {
			r.waits(w, "a waiter behind")
		}
	}
	for _, i := range []int{2, 0, 1} {
		r.release(held[i])
		held[i] = r.granted(waiting[0], "the first waiter").grant
		waiting = waiting[1:]
	}
	for _, g := range held {
		r.release(g)
	}
}

func headGivesUp(r *rig) {
	const n = 2
	name := r.name("s")
	a, b := r.process(), r.process()
	held := r.take(a, name, n)
	ctx, cancel := context.WithCancel(r.context())
	first := r.wait(ctx, b, b.Semaphore(name, n).Acquire)
	second := r.wait(r.context(), b, b.Semaphore(name, n).Acquire)
	third := r.wait(r.context(), b, b.Semaphore(name, n).Acquire)
	cancel()
	r.is((<-first).err, context.Canceled, "Acquire")
	r.release(held[1])
	g := r.granted(second, "the second waiter").grant
	r.waits(third, "the third waiter")
	r.release(g)
	r.release(r.granted(third, "the third waiter").grant)
	r.release(held[0])
}
