package pgsync

import (
	"context"
	"sync"
)

// gate limits the requests that may wait for the lock on a name's row: one at a time for each name, and in total fewer than the pool has
// connections. A row that is locked for long therefore does not take all connections from other names and renewals.
type gate struct {
	places chan struct{}

	mu    sync.Mutex
	names map[string]*turn
}

// turn is a lock that the requests for one name take.
type turn struct {
	taken chan struct{} // capacity 1
	users int           // number of requests that hold or await it; guarded by gate.mu
}

func newGate(places int) *gate {
	return &gate{places: make(chan struct{}, max(places, 1)), names: map[string]*turn{}}
}

// enter waits for the turn of a request. It returns the error of ctx if that ends first. The caller must call exit.
func (g *gate) enter(ctx context.Context, name string) (exit func(), err error) {
	t := g.join(name)
	select {
	case t.taken <- struct{}{}:
	case <-ctx.Done():
		g.leave(name, t)
		return nil, ctx.Err()
	}
	select {
	case g.places <- struct{}{}:
	case <-ctx.Done():
		<-t.taken
		g.leave(name, t)
		return nil, ctx.Err()
	}
	return func() {
		<-g.places
		<-t.taken
		g.leave(name, t)
	}, nil
}

func (g *gate) join(name string) *turn {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.names[name]
	if t == nil {
		t = &turn{taken: make(chan struct{}, 1)}
		g.names[name] = t
	}
	t.users++
	return t
}

func (g *gate) leave(name string, t *turn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(g.names, name)
	}
}
