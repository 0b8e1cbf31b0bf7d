package consulsync

import (
	"context"
	"sync"

	"github.com/hashicorp/consul/api"
)

// reads shares the reads of a queue among its waiters in this process. A read lists the whole queue: a thousand waiters with separate
// reads would read a million claims. A caller gets the result of a read that started after its call.
type reads struct {
	mu      sync.Mutex
	running map[string]*read // by name; at most one read of a name runs at a time
	waiting map[string]int   // the number of running Await calls, by name
}

// read is one read of a queue. Its result is set when done is closed.
type read struct {
	done    chan struct{}
	ctx     context.Context
	cancel  context.CancelFunc
	next    *read // for callers that arrived while this read ran; guarded by reads.mu
	callers int   // number of callers that wait for the result; guarded by reads.mu

	claims []*api.KVPair
	index  uint64
	err    error
}

// enter counts a waiter until leave.
func (r *reads) enter(name string) (leave func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == nil {
		r.waiting = map[string]int{}
	}
	r.waiting[name]++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.waiting[name]--; r.waiting[name] == 0 {
			delete(r.waiting, name)
		}
	}
}

// waits reports whether this process has a waiter in the queue.
func (r *reads) waits(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting[name] > 0
}

// claims returns a queue like list, but shares the read. Callers must not modify the claims.
func (d *Driver) claims(ctx context.Context, name string) ([]*api.KVPair, uint64, error) {
	shared := d.reads.join(d, name)
	defer d.reads.leave(name, shared)
	select {
	case <-shared.done:
		if shared.err != nil {
			return nil, 0, d.classify(ctx, shared.err)
		}
		return shared.claims, shared.index, nil
	case <-ctx.Done():
		return nil, 0, d.classify(ctx, ctx.Err())
	}
}

// join returns a read that has not started, and starts it if no other read of the name runs.
func (r *reads) join(d *Driver, name string) *read {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.running[name]
	if last == nil {
		if r.running == nil {
			r.running = map[string]*read{}
		}
		first := d.newRead()
		first.callers++
		r.running[name] = first
		go r.run(d, name, first)
		return first
	}
	if last.next == nil {
		last.next = d.newRead()
	}
	last.next.callers++
	return last.next
}

// leave cancels a read that has no callers left. A read that has not started is removed, so that no later caller gets its error.
func (r *reads) leave(name string, left *read) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if left.callers--; left.callers > 0 {
		return
	}
	left.cancel()
	if running := r.running[name]; running != nil && running.next == left {
		running.next = nil
	}
}

// run runs a read, and then those that were requested meanwhile, in turn.
func (r *reads) run(d *Driver, name string, turn *read) {
	for turn != nil {
		turn.claims, turn.index, turn.err = d.list(turn.ctx, name)
		turn.cancel()
		close(turn.done)
		r.mu.Lock()
		if turn = turn.next; turn == nil {
			delete(r.running, name)
		} else {
			r.running[name] = turn
		}
		r.mu.Unlock()
	}
}

// newRead returns a read whose context ends with the driver.
func (d *Driver) newRead() *read {
	ctx, cancel := d.life.Within(context.Background())
	return &read{done: make(chan struct{}), ctx: ctx, cancel: cancel}
}
