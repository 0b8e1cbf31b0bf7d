package log

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
)

// queue is the bounded queue of an AsyncSink, and its worker, which runs while the queue has something in it.
type queue struct {
	*outlet
	accounts

	mu       sync.Mutex
	ring     []entry
	head, n  int    // the waiting entries are the n from head on
	running  bool   // the worker is
	busy     bool   // the worker has an entry in its hands
	closed   bool   // by Shutdown
	accepted uint64 // entries ever queued
	done     uint64 // entries ever written, failed or abandoned, all those before each of them too
	owed     uint64 // entries abandoned behind the one that the worker has: done when that is
	waiters  []*waiter
}

// entry is one record on its way, with the handler that has the attributes and groups of its logger.
type entry struct {
	ctx    context.Context
	next   slog.Handler
	record slog.Record
}

// waiter waits for done to reach target.
type waiter struct {
	target uint64
	ready  chan struct{}
}

// push queues an entry, or returns the reason why not.
func (q *queue) push(e entry) (reason string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return reasonClosed
	}
	if q.n == len(q.ring) {
		return reasonQueueFull
	}
	q.ring[(q.head+q.n)%len(q.ring)] = e
	q.n++
	q.accepted++
	if !q.running {
		q.running = true
		go q.work()
	}
	return ""
}

// work writes until nothing is left. A sink that ends the goroutine, by runtime.Goexit, gets another one.
func (q *queue) work() {
	finished := false
	defer func() {
		if !finished {
			go q.work()
		}
	}()
	for {
		e, ok := q.pop()
		if !ok {
			finished = true
			return
		}
		if q.deliver(context.WithoutCancel(e.ctx), e.next, e.record) == nil {
			q.written.Add(1)
		}
	}
}

// pop settles the entry that the worker had, and gives it the next one. The worker ends when there is none.
func (q *queue) pop() (entry, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.busy {
		q.busy = false
		q.settle(1 + q.owed)
		q.owed = 0
	}
	if q.n == 0 {
		q.running = false
		return entry{}, false
	}
	e := q.ring[q.head]
	q.ring[q.head] = entry{} // the ring must not keep a request's context alive
	q.head = (q.head + 1) % len(q.ring)
	q.n--
	q.busy = true
	return e, true
}

// settle counts entries as done and wakes who waited for them. The caller holds mu.
func (q *queue) settle(n uint64) {
	q.done += n
	kept := q.waiters[:0]
	for _, w := range q.waiters {
		if q.done >= w.target {
			close(w.ready)
			continue
		}
		kept = append(kept, w)
	}
	clear(q.waiters[len(kept):])
	q.waiters = kept
}

// wait returns when all that is queued now is done, or else how many entries are left when ctx ends.
func (q *queue) wait(ctx context.Context) (left uint64, err error) {
	q.mu.Lock()
	w := &waiter{target: q.accepted, ready: make(chan struct{})}
	q.waiters = append(q.waiters, w)
	q.settle(0)
	q.mu.Unlock()
	select {
	case <-w.ready:
		return 0, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.waiters {
		if q.waiters[i] == w {
			q.waiters = append(q.waiters[:i], q.waiters[i+1:]...)
			return w.target - q.done, ctx.Err()
		}
	}
	return 0, nil // it was settled at the same time
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// abandon empties the queue. It returns how many entries were in it, and whether the worker has another one in its hands.
func (q *queue) abandon() (dropped int, busy bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	dropped = q.n
	clear(q.ring)
	q.head, q.n = 0, 0
	if q.busy { // who waits for that one must go on waiting
		q.owed += uint64(dropped)
	} else {
		q.settle(uint64(dropped))
	}
	return dropped, q.busy
}

func (q *queue) pending() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return int64(q.accepted - q.done - q.owed)
}

// lose counts records that will not be written, and reports them.
func (q *queue) lose(ctx context.Context, reason string, n int) {
	if n == 0 {
		return
	}
	q.dropped.Add(int64(n))
	q.drops.add(ctx, reason, n)
	if reason == reasonQueueFull {
		q.report.report(fmt.Errorf("log: sink %q: its queue of %d records is full, and records are dropped; "+
			"it is too slow for what is logged: log less, or raise AsyncOptions.Capacity", q.name, len(q.ring)))
	}
}
