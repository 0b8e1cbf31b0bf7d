package exporters

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// batchConfig are the numbers of one batcher, named by the OTEL_BSP_ and OTEL_BLRP_ variables.
type batchConfig struct {
	queue   int           // items that may wait
	batch   int           // items of one export
	delay   time.Duration // longest wait for a full batch
	timeout time.Duration // longest time that one batch is tried, retries included
}

// batcher collects items and exports them in batches on a goroutine of its own. It stands where the SDK has its batch
// processors, because those do not tell what they drop, give a batch up when nobody listens, and drain without a deadline of
// their own.
//
// add costs one uncontended lock and never blocks: when the queue is full the new item is dropped, and counted. The oldest are
// kept, since they tell how the trouble began.
type batcher[T any] struct {
	ledger   *ledger
	cfg      batchConfig
	deliver  deliverer
	export   func(context.Context, []T) error
	close    func(context.Context) error
	wake     chan struct{} // something to do before the delay is over; capacity 1
	draining chan struct{} // closed by shutdown
	done     chan struct{} // closed when the goroutine has ended
	cancel   context.CancelFunc
	once     sync.Once
	shutErr  error // what shutdown returned; read after done

	// All below is guarded by ledger.mu, so that the queue and its account move together.
	ring     []T // grows up to cfg.queue
	head     int
	closed   bool
	accepted int64 // items that ever entered the ring
	settled  int64 // items that ever left it for good
	flushes  []flush
}

// flush waits until as many items are settled as had been accepted when it came.
type flush struct {
	upTo int64
	done chan struct{}
}

// newBatcher starts a batcher. close is called once, after the last export.
func newBatcher[T any](l *ledger, cfg batchConfig, export func(context.Context, []T) error, close func(context.Context) error) *batcher[T] {
	ctx, cancel := context.WithCancel(context.Background())
	b := &batcher[T]{
		ledger: l, cfg: cfg, export: export, close: close, cancel: cancel,
		wake: make(chan struct{}, 1), draining: make(chan struct{}), done: make(chan struct{}),
		ring: make([]T, min(cfg.batch, cfg.queue)),
	}
	b.deliver = deliverer{ledger: l, draining: b.draining}
	go b.run(ctx)
	return b
}

// add queues one item, or drops and counts it.
func (b *batcher[T]) add(item T) {
	if b.admit() {
		b.put(item)
	}
}

// admit reports whether there is room for one item, and then holds the lock for put, which must follow: what is dropped need
// not be copied. Otherwise it drops the item and counts it.
func (b *batcher[T]) admit() bool {
	l := b.ledger
	l.mu.Lock()
	l.emitted++
	if !b.closed && l.queued < int64(b.cfg.queue) {
		return true
	}
	reason := lossQueueFull
	if b.closed {
		reason = lossShutdown
	}
	l.refuse(1, reason)
	l.mu.Unlock()
	l.alarm()
	return false
}

// put queues one item and releases the lock that admit took.
func (b *batcher[T]) put(item T) {
	n := int(b.ledger.queued)
	if n == len(b.ring) {
		b.grow()
	}
	b.ring[(b.head+n)%len(b.ring)] = item
	b.ledger.queued++
	b.accepted++
	b.ledger.mu.Unlock()
	if (n+1)%b.cfg.batch == 0 {
		b.rouse()
	}
}

// grow doubles the ring. It starts small because most services never fill their queue.
func (b *batcher[T]) grow() {
	bigger := make([]T, min(2*len(b.ring), b.cfg.queue))
	n := copy(bigger, b.ring[b.head:])
	copy(bigger[n:], b.ring[:b.head])
	b.ring, b.head = bigger, 0
}

func (b *batcher[T]) rouse() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *batcher[T]) run(ctx context.Context) {
	defer close(b.done)
	batch := make([]T, 0, min(b.cfg.batch, b.cfg.queue))
	tick := time.NewTicker(b.cfg.delay)
	defer tick.Stop()
	for {
		least := b.cfg.batch
		select {
		case <-b.wake:
		case <-tick.C:
			least = 1
		case <-b.draining:
		}
		if b.deliver.leaving() { // whatever else is due
			b.drain(ctx, batch)
			return
		}
		for batch = b.take(batch, least); len(batch) > 0; batch = b.take(batch, least) {
			if err := b.send(ctx, batch); err != nil && b.deliver.leaving() {
				break
			}
		}
	}
}

// drain exports what is left. Once a batch has been given up or the time is over, the rest is dropped: there is nobody to take it.
func (b *batcher[T]) drain(ctx context.Context, batch []T) {
	for ctx.Err() == nil {
		if batch = b.take(batch, 1); len(batch) == 0 {
			break
		}
		if err := b.send(ctx, batch); err != nil && transient(err) {
			break
		}
	}
	l := b.ledger
	l.mu.Lock()
	left := l.queued
	l.queued = 0
	if left > 0 {
		l.refuse(left, lossShutdown)
	}
	b.ring, b.head = nil, 0
	b.settle(left)
	l.mu.Unlock()
	if left > 0 {
		l.alarm()
	}
}

// take moves a batch out of the ring, or nothing if fewer than least are there and no flush is waiting. The batch is reused:
// exporters must not keep it.
func (b *batcher[T]) take(batch []T, least int) []T {
	clear(batch)
	l := b.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	n := int(l.queued)
	if n < least && len(b.flushes) == 0 {
		return batch[:0]
	}
	n = min(n, b.cfg.batch)
	batch = batch[:n]
	var none T
	for i := range batch {
		at := (b.head + i) % len(b.ring)
		batch[i], b.ring[at] = b.ring[at], none
	}
	if n > 0 {
		b.head = (b.head + n) % len(b.ring)
	}
	l.begin(int64(n))
	return batch
}

// send exports one batch, with retries, and settles its account.
func (b *batcher[T]) send(ctx context.Context, batch []T) error {
	n := int64(len(batch))
	err := b.deliver.do(ctx, b.cfg.timeout, func(ctx context.Context) error { return b.export(ctx, batch) })
	b.ledger.settle(n, lostOf(n, err), err)
	b.ledger.mu.Lock()
	b.settle(n)
	b.ledger.mu.Unlock()
	return err
}

// settle releases the flushes that n more items satisfy. The caller holds the lock.
func (b *batcher[T]) settle(n int64) {
	b.settled += n
	waiting := b.flushes[:0]
	for _, f := range b.flushes {
		if f.upTo <= b.settled {
			close(f.done)
			continue
		}
		waiting = append(waiting, f)
	}
	clear(b.flushes[len(waiting):])
	b.flushes = waiting
}

// forceFlush exports what is queued now. Its error says how many were lost since.
func (b *batcher[T]) forceFlush(ctx context.Context) error {
	l := b.ledger
	l.mu.Lock()
	before := l.dropped
	f := flush{upTo: b.accepted, done: make(chan struct{})}
	if b.settled >= f.upTo {
		l.mu.Unlock()
		return nil
	}
	b.flushes = append(b.flushes, f)
	l.mu.Unlock()
	b.rouse()
	select {
	case <-f.done:
	case <-ctx.Done():
		return fmt.Errorf("%s to %s are not flushed: %w", l.signal, l.exporter.name, context.Cause(ctx))
	}
	return l.lossSince(before)
}

// shutdown drains until ctx ends, drops and counts the rest, and closes the exporter. It returns what was lost.
func (b *batcher[T]) shutdown(ctx context.Context) error {
	b.once.Do(func() {
		l := b.ledger
		l.mu.Lock()
		b.closed = true
		before := l.dropped
		l.mu.Unlock()
		close(b.draining)
		stop := context.AfterFunc(ctx, b.cancel)
		<-b.done
		stop()
		b.cancel()
		b.shutErr = errors.Join(l.lossSince(before), b.close(ctx))
	})
	return b.shutErr
}

// lossSince makes an error of what was dropped beyond a count taken earlier.
func (l *ledger) lossSince(before int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := l.dropped - before
	if lost == 0 {
		return nil
	}
	err := fmt.Errorf("%d %s to %s are lost", lost, l.signal.items(), l.exporter.name)
	if l.lastErr != nil {
		return fmt.Errorf("%w: %w", err, l.lastErr)
	}
	return err
}

// items is what a signal is counted in.
func (s Signal) items() string {
	switch s {
	case Traces:
		return "spans"
	case Metrics:
		return "metric data points"
	default:
		return "log records"
	}
}
