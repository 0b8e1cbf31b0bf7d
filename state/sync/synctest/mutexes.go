package synctest

import (
	"context"
	"errors"
	"fmt"
	gosync "sync"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/state/sync"
)

func mutexes() []promise {
	return []promise{
		{Name: "mutex/one holder at a time", Check: oneHolder},
		{Name: "mutex/waiters in order", Check: inOrder},
		{Name: "mutex/a waiter that gives up leaves", Check: givesUp},
		{Name: "mutex/try", Check: try},
		{Name: "mutex/locking twice", Check: lockingTwice},
		{Name: "mutex/releasing twice", Check: releasingTwice},
		{Name: "mutex/do", Check: doing},
	}
}

// oneHolder lets several processes, with several goroutines each, contend for a lock.
func oneHolder(r *rig) {
	const processes, goroutines, rounds = 3, 3, 8
	name := r.name("m")
	var inside atomic.Int64
	var mu gosync.Mutex
	var tokens []sync.Token // in the order of their grants
	var group gosync.WaitGroup
	for range processes {
		p := r.process()
		for range goroutines {
			group.Go(func() {
				for range rounds {
					g, err := r.retried(func(ctx context.Context) (*sync.Grant, error) { return p.Mutex(name).Lock(ctx) })
					if err != nil {
						r.Errorf("Lock: %v", err)
						return
					}
					if n := inside.Add(1); n != 1 {
						r.Errorf("%d holders", n)
					}
					mu.Lock()
					tokens = append(tokens, g.Token())
					mu.Unlock()
					time.Sleep(time.Millisecond)
					inside.Add(-1)
					if err := g.Release(r.context()); err != nil && !errors.Is(err, sync.ErrUnavailable) {
						r.Errorf("Release: %v", err)
					}
				}
			})
		}
	}
	group.Wait()
	for i := 1; i < len(tokens); i++ {
		if tokens[i] <= tokens[i-1] {
			r.Errorf("token %d was granted after %d", tokens[i], tokens[i-1])
		}
	}
	if len(tokens) != processes*goroutines*rounds {
		r.Errorf("%d grants, want %d", len(tokens), processes*goroutines*rounds)
	}
}

// retried retries an acquisition after ErrUnavailable. On a busy machine an engine may not answer in time.
func (r *rig) retried(acquire func(context.Context) (*sync.Grant, error)) (*sync.Grant, error) {
	ctx, cancel := context.WithTimeout(r.Context(), r.patience())
	defer cancel()
	for {
		g, err := acquire(ctx)
		if !errors.Is(err, sync.ErrUnavailable) || ctx.Err() != nil {
			return g, err
		}
	}
}

func inOrder(r *rig) {
	if !r.caps.Ordered {
		r.Skip("not declared")
	}
	const waiters = 6
	name := r.name("m")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	var waiting []<-chan outcome
	for i := range waiters {
		p := a
		if i%2 == 0 {
			p = b
		}
		waiting = append(waiting, r.wait(r.context(), p, p.Mutex(name).Lock))
	}
	for i, w := range waiting {
		r.waits(w, fmt.Sprintf("waiter %d", i))
		last := held.Token()
		r.release(held)
		held = r.granted(w, fmt.Sprintf("waiter %d", i)).grant
		if held.Token() <= last {
			r.Errorf("token %d came after %d", held.Token(), last)
		}
	}
	r.release(held)
}

func givesUp(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	ctx, cancel := context.WithCancel(r.context())
	first := r.wait(ctx, b, b.Mutex(name).Lock)
	second := r.wait(r.context(), b, b.Mutex(name).Lock)
	cancel()
	select {
	case o := <-first:
		r.is(o.err, context.Canceled, "Lock")
		if o.grant != nil {
			r.Error("there is a grant with the error")
		}
	case <-time.After(time.Second):
		r.Error("Lock goes on a second after its context")
	}
	r.release(held)
	r.release(r.granted(second, "the waiter behind the one that gave up").grant)
}

func try(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	held, err := a.Mutex(name).TryLock(r.context())
	if err != nil {
		r.Fatalf("TryLock of what nobody holds: %v", err)
	}
	_, err = b.Mutex(name).TryLock(r.context())
	r.is(err, sync.ErrHeld, "TryLock of what somebody holds")
	_, err = a.Mutex(name).TryLock(r.context())
	r.is(err, sync.ErrHeld, "TryLock by the process that holds it")
	r.release(held)
	again, err := b.Mutex(name).TryLock(r.context())
	if err != nil {
		r.Fatalf("TryLock of what was released: %v", err)
	}
	r.release(again)
}

func lockingTwice(r *rig) {
	p := r.process()
	name := r.name("m")
	held := r.lock(p, name)
	_, err := p.Mutex(name).Lock(held.Context())
	r.is(err, sync.ErrHeld, "Lock by the holder")
	child, cancel := context.WithCancel(held.Context())
	defer cancel()
	_, err = p.Mutex(name).Lock(child)
	r.is(err, sync.ErrHeld, "Lock by the holder, with a context made of its grant's")
	other, err := p.Mutex(name + "x").Lock(held.Context())
	if err != nil {
		r.Fatalf("Lock of another name by the holder: %v", err)
	}
	_, err = p.Mutex(name).Lock(other.Context())
	r.is(err, sync.ErrHeld, "Lock by the holder, with a context of another grant within")
	r.release(other)
	r.release(held)
	r.release(r.lock(p, name))
}

func releasingTwice(r *rig) {
	p := r.process()
	held := r.lock(p, r.name("m"))
	if err := held.Context().Err(); err != nil {
		r.Errorf("the context of a grant that holds: %v", err)
	}
	r.release(held)
	r.is(held.Release(r.context()), sync.ErrNotHeld, "Release again")
	r.is(held.Lost(), nil, "Lost of a grant that was released")
	r.is(held.Context().Err(), context.Canceled, "the context of a grant that was released")
}

func doing(r *rig) {
	p := r.process()
	m := p.Mutex(r.name("m"))
	ctx, cancel := context.WithCancel(r.context())
	errBody := errors.New("of the body")
	err := m.Do(ctx, func(inner context.Context, g *sync.Grant) error {
		if err := inner.Err(); err != nil || g.Token() == 0 || g.Lost() != nil || !g.Deadline().After(time.Now()) {
			r.Errorf("inside: %v, token %d, lost %v, deadline %s", err, g.Token(), g.Lost(), g.Deadline())
		}
		_, err := m.TryLock(r.context())
		r.is(err, sync.ErrHeld, "TryLock inside")
		cancel()
		<-inner.Done()
		return errBody
	})
	r.is(err, errBody, "Do")
	func() {
		defer func() {
			if recover() == nil {
				r.Error("the panic is gone")
			}
		}()
		_ = m.Do(r.context(), func(context.Context, *sync.Grant) error { panic("bug") })
	}()
	g, err := m.TryLock(r.context())
	if err != nil {
		r.Fatalf("TryLock after a panic: %v", err)
	}
	r.release(g)
}
