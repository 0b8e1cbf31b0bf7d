package exporters

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// The default bounds in bytes. A batch stays well below the 4 MiB that gRPC servers, the collector among them, take by default.
const (
	defaultQueueBytes = 32 << 20
	defaultBatchBytes = 2 << 20
)

// batchConfig are the numbers of one batcher, named by the OTEL_BSP_ and OTEL_BLRP_ variables.
type batchConfig struct {
	queue      int           // items that may wait
	batch      int           // items of one export
	delay      time.Duration // longest wait for a full batch
	timeout    time.Duration // longest time that one batch is tried, retries included; zero is no limit
	queueBytes int64         // bytes that may wait or be exported; zero is the default
	batchBytes int64         // bytes of one export, unless one item is larger; zero is the default
}

func (c batchConfig) withDefaults() batchConfig {
	if c.queueBytes == 0 {
		c.queueBytes = defaultQueueBytes
	}
	if c.batchBytes == 0 {
		c.batchBytes = defaultBatchBytes
	}
	c.batchBytes = min(c.batchBytes, c.queueBytes)
	return c
}

// batcher collects items and exports them in batches on a goroutine of its own. It stands where the SDK has its batch
// processors, because those do not tell what they drop, give a batch up when nobody listens, and drain without a deadline of
// their own.
//
// add costs one uncontended lock and never blocks: when the queue is full, in items or in bytes, the new item is dropped, and counted.
// The oldest are kept, since they tell how the trouble began.
type batcher[T any] struct {
	ledger   *ledger
	cfg      batchConfig
	size     func(T) int64 // estimate of the bytes that an item holds
	out      splitter[[]T]
	close    func(context.Context) error
	wake     chan struct{} // something to do before the delay is over; capacity 1
	draining chan struct{} // closed by shutdown
	done     chan struct{} // closed when the goroutine has ended
	cancel   context.CancelCauseFunc
	once     sync.Once
	result   func() error // of shutdown, computed once; called after done
	closeErr error        // of the exporter; read after done

	// All below is guarded by ledger.mu, so that the queue and its account move together.
	ring     []entry[T] // grows up to cfg.queue
	head     int
	waiting  int64 // bytes in the ring
	flying   int64 // bytes with the exporter
	closed   bool
	before   int64     // what was dropped before shutdown
	began    time.Time // of shutdown
	accepted int64     // items that ever entered the ring
	settled  int64     // items that ever left it for good
	flushes  []flush
}

// entry is an item in the ring with its size.
type entry[T any] struct {
	item T
	size int64
}

// flush waits until as many items are settled as had been accepted when it came.
type flush struct {
	upTo int64
	done chan struct{}
}

// newBatcher starts a batcher. close is called once, after the last export.
func newBatcher[T any](
	l *ledger, cfg batchConfig, size func(T) int64, export func(context.Context, []T) error, close func(context.Context) error,
) *batcher[T] {
	cfg = cfg.withDefaults()
	ctx, cancel := context.WithCancelCause(context.Background())
	b := &batcher[T]{
		ledger: l, cfg: cfg, size: size, close: close, cancel: cancel,
		wake: make(chan struct{}, 1), draining: make(chan struct{}), done: make(chan struct{}),
		ring: make([]entry[T], min(cfg.batch, cfg.queue)),
	}
	b.out = splitter[[]T]{
		deliver: deliverer{ledger: l, draining: b.draining}, limit: cfg.batchBytes, export: export,
		count: func(batch []T) int64 { return int64(len(batch)) }, size: b.sizeOf, halve: halves[T], settled: b.finish,
	}
	go b.run(ctx)
	return b
}

func (b *batcher[T]) sizeOf(batch []T) (n int64) {
	for i := range batch {
		n += b.size(batch[i])
	}
	return n
}

// add queues one item, or drops and counts it.
func (b *batcher[T]) add(item T) {
	size := b.size(item)
	if b.admit(size) {
		b.put(item, size)
	}
}

// admit reports whether there is room for one item of that size, and then holds the lock for put, which must follow: what is
// dropped need not be copied. Otherwise it drops the item and counts it.
func (b *batcher[T]) admit(size int64) bool {
	l := b.ledger
	l.mu.Lock()
	l.emitted++
	switch {
	case b.closed:
		l.refuse(1, lossShutdown)
	case l.queued >= int64(b.cfg.queue):
		l.refuse(1, lossQueueFull)
	case b.waiting+b.flying+size > b.cfg.queueBytes:
		l.refuse(1, lossQueueFull)
		l.overBytes++
	default:
		return true
	}
	l.mu.Unlock()
	l.alarm()
	return false
}

// put queues one item and releases the lock that admit took.
func (b *batcher[T]) put(item T, size int64) {
	n := int(b.ledger.queued)
	if n == len(b.ring) {
		b.grow()
	}
	b.ring[(b.head+n)%len(b.ring)] = entry[T]{item, size}
	b.ledger.queued++
	b.accepted++
	full := (n+1)%b.cfg.batch == 0 || b.waiting/b.cfg.batchBytes != (b.waiting+size)/b.cfg.batchBytes
	b.waiting += size
	b.ledger.mu.Unlock()
	if full {
		b.rouse()
	}
}

// grow doubles the ring. It starts small because most services never fill their queue.
func (b *batcher[T]) grow() {
	bigger := make([]entry[T], min(2*len(b.ring), b.cfg.queue))
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
	defer b.closeExporter()
	batch := make([]T, 0, min(b.cfg.batch, b.cfg.queue))
	tick := time.NewTicker(max(b.cfg.delay, time.Millisecond))
	defer tick.Stop()
	for {
		full := true
		select {
		case <-b.wake:
		case <-tick.C:
			full = false
		case <-b.draining:
		}
		if b.out.deliver.leaving() { // whatever else is due
			b.drain(ctx, batch)
			return
		}
		for batch = b.take(batch, full); len(batch) > 0; batch = b.take(batch, full) {
			if err := b.send(ctx, batch); err != nil && b.out.deliver.leaving() {
				break
			}
		}
	}
}

// closeTime bounds the closing of an exporter, which has nothing left to send.
const closeTime = time.Second

func (b *batcher[T]) closeExporter() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	b.closeErr = b.close(ctx)
}

// drain exports what is left. Once a batch has been given up or the time is over, the rest is dropped: there is nobody to take it.
func (b *batcher[T]) drain(ctx context.Context, batch []T) {
	for ctx.Err() == nil {
		if batch = b.take(batch, false); len(batch) == 0 {
			break
		}
		if err := b.send(ctx, batch); err != nil && transient(err) {
			break
		}
	}
	clear(batch[:cap(batch)])
	l := b.ledger
	l.mu.Lock()
	left := l.queued
	l.queued = 0
	if left > 0 {
		l.refuse(left, lossShutdown)
		l.late(ctx)
	}
	b.ring, b.head, b.waiting, b.flying = nil, 0, 0, 0
	b.settle(left)
	l.mu.Unlock()
	if left > 0 {
		l.alarm()
	}
}

// take moves a batch out of the ring. If full is set it waits for a full one: it takes nothing unless there is one, or a flush is
// waiting. The batch is reused: exporters must not keep it.
func (b *batcher[T]) take(batch []T, full bool) []T {
	clear(batch)
	batch = batch[:0]
	l := b.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	b.flying = 0
	limit := min(b.cfg.batchBytes, b.out.limit)
	if full && l.queued < int64(b.cfg.batch) && b.waiting < limit && len(b.flushes) == 0 {
		return batch
	}
	for l.queued > 0 && len(batch) < b.cfg.batch {
		next := &b.ring[b.head]
		if len(batch) > 0 && b.flying+next.size > limit {
			break
		}
		batch = append(batch, next.item)
		b.waiting -= next.size
		b.flying += next.size
		*next = entry[T]{}
		b.head = (b.head + 1) % len(b.ring)
		l.begin(1)
	}
	return batch
}

// send exports one batch, with retries, and settles its account.
func (b *batcher[T]) send(ctx context.Context, batch []T) error {
	var deadline time.Time
	if b.cfg.timeout > 0 {
		deadline = time.Now().Add(b.cfg.timeout)
	}
	return b.out.send(ctx, batch, deadline)
}

// finish releases the flushes that waited for n items.
func (b *batcher[T]) finish(n int64) {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	b.settle(n)
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
	before, began := l.dropped, time.Now()
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
	return l.lossSince(before, began)
}

// shutdown drains until ctx ends, drops and counts the rest, and closes the exporter. It returns what was lost. The context of the
// first call decides how long to drain; that of a later one, how long to wait for it.
func (b *batcher[T]) shutdown(ctx context.Context) error {
	l := b.ledger
	b.once.Do(func() {
		l.mu.Lock()
		b.closed, b.before, b.began = true, l.dropped, time.Now()
		l.mu.Unlock()
		cancel := func() { b.cancel(context.Cause(ctx)) }
		if ctx.Err() != nil { // AfterFunc would let an export through before it
			cancel()
		}
		stop := context.AfterFunc(ctx, cancel)
		b.result = sync.OnceValue(func() error {
			stop()
			b.cancel(nil)
			return errors.Join(l.lossSince(b.before, b.began), b.closeErr)
		})
		close(b.draining)
	})
	if !ended(ctx, b.done, unwinding) {
		return fmt.Errorf("%s to %s are not drained: %w", l.signal, l.exporter.name, context.Cause(ctx))
	}
	return b.result()
}

// lossSince makes an error of what was dropped beyond a count taken earlier, with the reason: the last failure since then, or one that
// lasts.
func (l *ledger) lossSince(before int64, began time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := l.dropped - before
	if lost == 0 {
		return nil
	}
	err := fmt.Errorf("%d %s to %s are lost", lost, l.signal.items(), l.exporter.name)
	switch {
	case l.lastErr != nil && (l.failures > 0 || !l.lastErrAt.Before(began)):
		return fmt.Errorf("%w: %w", err, l.lastErr)
	case l.lateErr != nil:
		return fmt.Errorf("%w: %w", err, l.lateErr)
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
