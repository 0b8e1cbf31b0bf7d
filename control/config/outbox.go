package config

import (
	"context"
	"sync"
	"time"
)

// outbox runs functions one at a time, in the order of their addition. It separates a change, which is made under a lock, from telemetry,
// callbacks and file access, which run foreign code and must not delay readers.
type outbox struct {
	mu      sync.Mutex
	queue   []func()
	running bool
}

// add appends a function. It does not block, so the caller may hold locks.
func (o *outbox) add(fn func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = append(o.queue, fn)
}

// run runs the added functions, unless another call is already running them. A function may therefore call run. The caller must hold no
// locks.
func (o *outbox) run() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.running {
		return
	}
	o.running = true
	defer func() { o.running = false }() // also if a function panics
	for len(o.queue) > 0 {
		fn := o.queue[0]
		o.queue = o.queue[1:]
		o.unlocked(fn)
	}
}

func (o *outbox) unlocked(fn func()) {
	o.mu.Unlock()
	defer o.mu.Lock()
	fn()
}

// turn is a mutex that can be awaited with a context.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// take waits for the turn until ctx ends, and reports whether the caller has it.
func (t turn) take(ctx context.Context) bool {
	select {
	case t <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// release ends the turn.
func (t turn) release() { <-t }

// grace is how long inTime waits for work after the context has ended.
const grace = 250 * time.Millisecond

// inTime runs work in a goroutine, and waits for it until ctx has ended. It abandons work that ignores ctx. Abandoned work keeps the turn
// until it ends, and the next call waits for that, so that at most one goroutine is left behind.
func inTime[R any](ctx context.Context, busy turn, work func() R) (result R, ok bool) {
	if !busy.take(ctx) {
		return result, false
	}
	done := make(chan R, 1)
	go func() {
		defer busy.release()
		done <- work()
	}()
	select {
	case result = <-done:
		return result, true
	case <-ctx.Done():
	}
	select {
	case result = <-done: // its own error says more
		return result, true
	case <-time.After(grace):
		return result, false
	}
}
