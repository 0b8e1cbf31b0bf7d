package config

import (
	"context"
	"sync"
	"time"
)

// outbox runs functions one at a time, in the order in which they were added. It separates a change, which is made under a lock,
// from its telemetry, callbacks and file, which run foreign code and must never hold up a reader of the state.
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

// run runs the added functions, unless another call is already running them. So a function may itself call run. The caller must hold no
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

// turn is a mutex whose wait ends with a context.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// take waits for the turn, and reports whether the caller has it.
func (t turn) take(ctx context.Context) bool {
	select {
	case t <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// release gives the turn back.
func (t turn) release() { <-t }

// patience is how long inTime waits for work after its context has ended.
const patience = 250 * time.Millisecond

// inTime runs work in a goroutine and waits for it until ctx has ended. Work that ignores ctx is abandoned. It keeps the turn until it
// ends, and the next call waits for that: at most one goroutine is ever left behind.
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
	case result = <-done: // its own error is the better one
		return result, true
	case <-time.After(patience):
		return result, false
	}
}
