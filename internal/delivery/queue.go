package delivery

import (
	"context"
	"slices"
)

// Limits bound a queue or a batch.
type Limits struct {
	Items int
	Bytes int64
}

// The default limits of a queue and of a batch. A batch stays well below 4 MiB, the default message limit of a gRPC server.
const (
	DefaultQueueItems = 2048
	DefaultQueueBytes = 32 << 20
	DefaultBatchItems = 512
	DefaultBatchBytes = 2 << 20
)

// or returns the limits, with those of other in place of values below 1.
func (m Limits) or(other Limits) Limits {
	if m.Items < 1 {
		m.Items = other.Items
	}
	if m.Bytes < 1 {
		m.Bytes = other.Bytes
	}
	return m
}

// QueueOptions of a Queue. Nil and the zero value work. A limit below 1 means the default.
type QueueOptions struct {
	// Limits of the items that wait, and of the bytes that wait or are in flight. Default: 2048 items, 32 MiB.
	Limits Limits
	// Batch limits what Take returns. The limits of the queue cap it. Default: 512 items, 2 MiB.
	Batch Limits
}

// Queue is a bounded first-in, first-out queue. A push never blocks: when the queue is full, the new item is dropped. The queue and its
// ledger share one lock, so that they change together. It is safe for concurrent use.
//
// A push costs one uncontended lock, and an allocation only when the queue grows. A queue starts small, because most queues never fill.
type Queue[T any] struct {
	ledger *Ledger
	limits Limits
	batch  Limits
	ready  chan struct{} // capacity 1: a batch is full, or a flush waits; nil if nobody listens

	// Guarded by ledger.mu.
	ring        []entry[T] // grows up to limits.Items
	head        int
	waiting     int   // items in the ring
	bytes       int64 // of the waiting items
	flying      int64 // items with the consumer
	flyingBytes int64 // held until all of them are settled
	closed      bool
	accepted    int64 // items that ever entered the ring
	settled     int64 // accepted items that are settled, and all items before them too
	owed        int64 // items abandoned behind those in flight: settled with the last of these
	flushes     []*flush
}

// entry is an item in the ring with its size.
type entry[T any] struct {
	item T
	size int64
}

// flush waits until as many items are settled as had been accepted when it began.
type flush struct {
	target int64
	done   chan struct{}
}

// NewQueue returns an empty queue. A ledger has one queue.
func NewQueue[T any](l *Ledger, opts *QueueOptions) *Queue[T] {
	if opts == nil {
		opts = &QueueOptions{}
	}
	limits := opts.Limits.or(Limits{DefaultQueueItems, DefaultQueueBytes})
	batch := opts.Batch.or(Limits{DefaultBatchItems, DefaultBatchBytes})
	batch = Limits{min(batch.Items, limits.Items), min(batch.Bytes, limits.Bytes)}
	return &Queue[T]{
		ledger: l, limits: limits, batch: batch, ready: make(chan struct{}, 1),
		ring: make([]entry[T], min(max(batch.Items, smallestRing), limits.Items)),
	}
}

// smallestRing is the initial size of a ring, unless a batch is smaller.
const smallestRing = 64

// Limits returns the limits of the queue.
func (q *Queue[T]) Limits() Limits { return q.limits }

// Batch returns the limits of a batch.
func (q *Queue[T]) Batch() Limits { return q.batch }

// Ready returns a channel that receives a value when a batch is full or a Flush waits.
func (q *Queue[T]) Ready() <-chan struct{} { return q.ready }

// Push queues an item that holds size bytes. It returns Accepted, or the reason for which the item was dropped.
func (q *Queue[T]) Push(item T, size int64) Reason {
	if reason := q.admit(size); reason != Accepted {
		return reason
	}
	q.put(item, size)
	return Accepted
}

// PushFunc is Push for an item that is expensive to make. build runs only if there is room. It runs under the lock of the queue, so it must
// be quick and must not use the queue or its ledger.
func (q *Queue[T]) PushFunc(size int64, build func() T) Reason {
	if reason := q.admit(size); reason != Accepted {
		return reason
	}
	built := false
	defer func() {
		if !built { // build panicked, and nothing was queued
			q.ledger.account.Emitted--
			q.ledger.mu.Unlock()
		}
	}()
	item := build()
	built = true
	q.put(item, size)
	return Accepted
}

// admit returns Accepted if there is room, and then keeps the lock for put. Otherwise it counts the item as dropped.
func (q *Queue[T]) admit(size int64) Reason {
	l := q.ledger
	l.mu.Lock()
	l.account.Emitted++
	reason := Accepted
	switch {
	case q.closed:
		reason = QueueClosed
	case q.waiting >= q.limits.Items:
		reason = QueueFull
	case size > q.limits.Bytes-q.bytes-q.flyingBytes:
		reason = QueueBytes
	default:
		return Accepted
	}
	l.refuse(1, reason)
	l.mu.Unlock()
	l.opts.Notify()
	return reason
}

// put queues an item and releases the lock that admit took.
func (q *Queue[T]) put(item T, size int64) {
	size = max(size, 0)
	if q.waiting == len(q.ring) {
		q.grow()
	}
	q.ring[q.place(q.waiting)] = entry[T]{item, size}
	q.waiting++
	q.ledger.account.Waiting++
	q.accepted++
	full := q.ready != nil &&
		(q.waiting%q.batch.Items == 0 || q.bytes/q.batch.Bytes != (q.bytes+size)/q.batch.Bytes)
	q.bytes += size
	q.ledger.mu.Unlock()
	if full {
		q.wake()
	}
}

// place returns the ring index of the nth item from the head. It avoids a division, which would be the slowest part of a push.
func (q *Queue[T]) place(n int) int {
	i := q.head + n
	if i >= len(q.ring) {
		i -= len(q.ring)
	}
	return i
}

// grow doubles the ring.
func (q *Queue[T]) grow() {
	bigger := make([]entry[T], min(2*len(q.ring), q.limits.Items))
	n := copy(bigger, q.ring[q.head:])
	copy(bigger[n:], q.ring[:q.head])
	q.ring, q.head = bigger, 0
}

func (q *Queue[T]) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// Take moves the next batch from the queue to batch[:0], and returns it. The batch holds at least one item unless the queue is empty.
// Otherwise it stays within the limits of a batch and below bytes. The items are in flight until Settle.
func (q *Queue[T]) Take(batch []T, bytes int64) []T { return q.take(batch, bytes, false) }

// TakeFull is Take, but returns nothing unless a batch is full or a Flush waits.
func (q *Queue[T]) TakeFull(batch []T, bytes int64) []T { return q.take(batch, bytes, true) }

func (q *Queue[T]) take(batch []T, bytes int64, full bool) []T {
	q.ledger.mu.Lock()
	defer q.ledger.mu.Unlock()
	return q.move(batch, bytes, full)
}

// next settles what is in flight as settleRest does, and takes the next batch, under one lock.
func (q *Queue[T]) next(batch []T, err error) []T {
	q.ledger.mu.Lock()
	lost := q.settleFlying(err)
	batch = q.move(batch, q.batch.Bytes, false)
	q.ledger.mu.Unlock()
	if lost > 0 {
		q.ledger.opts.Notify()
	}
	return batch
}

// move is take for a caller that holds the lock.
func (q *Queue[T]) move(batch []T, bytes int64, full bool) []T {
	clear(batch)
	batch = batch[:0]
	bytes = min(bytes, q.batch.Bytes)
	if full && q.waiting < q.batch.Items && q.bytes < bytes && len(q.flushes) == 0 {
		return batch
	}
	var held int64
	for q.waiting > 0 && len(batch) < q.batch.Items {
		next := &q.ring[q.head]
		if len(batch) > 0 && held+next.size > bytes {
			break
		}
		batch = append(batch, next.item)
		held += next.size
		*next = entry[T]{} // the ring must not keep the item alive
		q.head = q.place(1)
		q.waiting--
	}
	q.bytes -= held
	q.flyingBytes += held
	q.flying += int64(len(batch))
	q.ledger.account.Waiting -= int64(len(batch))
	q.ledger.account.InFlight += int64(len(batch))
	return batch
}

// Settle records the end of n items in flight. lost of them were dropped because of err, and the rest were delivered.
func (q *Queue[T]) Settle(n, lost int64, err error) {
	q.ledger.mu.Lock()
	q.settle(n, lost, err)
	q.ledger.mu.Unlock()
	if lost > 0 {
		q.ledger.opts.Notify()
	}
}

// settleRest settles all items in flight: as delivered if err is nil, and as lost otherwise.
func (q *Queue[T]) settleRest(err error) {
	q.ledger.mu.Lock()
	lost := q.settleFlying(err)
	q.ledger.mu.Unlock()
	if lost > 0 {
		q.ledger.opts.Notify()
	}
}

// settleFlying is settleRest for a caller that holds the lock. The caller notifies if anything was lost.
func (q *Queue[T]) settleFlying(err error) (lost int64) {
	n := q.flying
	if err != nil {
		lost = n
	}
	if n > 0 {
		q.settle(n, lost, err)
	}
	return lost
}

// settle is Settle for a caller that holds the lock.
func (q *Queue[T]) settle(n, lost int64, err error) {
	q.ledger.settle(n, lost, err)
	q.flying -= n
	q.release(n)
}

// release ends the flushes that n more items satisfy. The caller holds the lock.
func (q *Queue[T]) release(n int64) {
	q.settled += n
	if q.flying == 0 {
		q.settled += q.owed
		q.owed, q.flyingBytes = 0, 0
	}
	if len(q.flushes) == 0 {
		return
	}
	q.flushes = slices.DeleteFunc(q.flushes, func(f *flush) bool {
		if q.settled < f.target {
			return false
		}
		close(f.done)
		return true
	})
}

// Len returns how many items wait.
func (q *Queue[T]) Len() int {
	q.ledger.mu.Lock()
	defer q.ledger.mu.Unlock()
	return q.waiting
}

// Flush waits until the items that are queued or in flight now are settled. It returns 0, or how many are not settled if ctx ends first.
// While it waits, an incomplete batch counts as full.
func (q *Queue[T]) Flush(ctx context.Context) (left int64) {
	l := q.ledger
	l.mu.Lock()
	f := &flush{target: q.accepted, done: make(chan struct{})}
	if q.settled >= f.target {
		l.mu.Unlock()
		return 0
	}
	q.flushes = append(q.flushes, f)
	l.mu.Unlock()
	q.wake()
	select {
	case <-f.done:
		return 0
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(q.flushes, f)
	if i < 0 {
		return 0 // it was settled as ctx ended
	}
	q.flushes = slices.Delete(q.flushes, i, i+1)
	return f.target - q.settled
}

// Close refuses later pushes. Waiting items can still be taken.
func (q *Queue[T]) Close() {
	q.ledger.mu.Lock()
	defer q.ledger.mu.Unlock()
	q.closed = true
}

// Abandon closes the queue and drops the waiting items. err is the cause; nil means that Abandoned explains it. Abandon returns how many
// items it dropped, and how many are still in flight.
func (q *Queue[T]) Abandon(err error) (dropped, inFlight int64) {
	l := q.ledger
	l.mu.Lock()
	q.closed = true
	dropped, inFlight = int64(q.waiting), q.flying
	q.ring, q.head, q.waiting, q.bytes = nil, 0, 0, 0
	l.account.Waiting -= dropped
	if dropped > 0 {
		l.refuse(dropped, Abandoned)
		if err != nil {
			l.late(err)
		}
	}
	q.owed += dropped // a flush of items in flight must keep waiting for them
	q.release(0)
	l.mu.Unlock()
	if dropped > 0 {
		l.opts.Notify()
	}
	return dropped, inFlight
}
