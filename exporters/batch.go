package exporters

import (
	"context"
	"time"

	"github.com/go-os/go-os/internal/delivery"
)

// batchConfig holds the limits of one batcher, named by the OTEL_BSP_ and OTEL_BLRP_ variables.
type batchConfig struct {
	queue      int           // items that may wait
	batch      int           // items of one export
	delay      time.Duration // longest wait for a full batch
	timeout    time.Duration // longest time to deliver one batch, retries included; zero is no limit
	queueBytes int64         // bytes that may wait or be exported; zero is the default
	batchBytes int64         // bytes of one export, unless one item is larger; zero is the default
}

// batcher exports items in batches through a delivery.Sender. It replaces the batch processors of the SDK. Those do not report what
// they drop, give a batch up when nothing listens, and drain without a deadline of their own.
type batcher[T any] struct {
	ledger *ledger
	size   func(T) int64 // estimated bytes of an item
	sender *delivery.Sender[T]
}

// newBatcher starts a batcher, which calls close once, after the last export.
func newBatcher[T any](
	l *ledger, cfg batchConfig, size func(T) int64, export func(context.Context, []T) error, close func(context.Context) error,
) *batcher[T] {
	b := &batcher[T]{ledger: l, size: size}
	out := splitter[[]T]{
		export: export, size: b.sizeOf, halve: halves[T],
		count: func(batch []T) int64 { return int64(len(batch)) },
	}
	send := func(ctx context.Context, batch []T) error { return out.send(ctx, batch, until(cfg.timeout)) }
	b.sender = delivery.NewSender(l.Ledger, send, &delivery.SenderOptions{
		Queue: delivery.QueueOptions{
			Limits: delivery.Limits{Items: cfg.queue, Bytes: cfg.queueBytes},
			Batch:  delivery.Limits{Items: cfg.batch, Bytes: cfg.batchBytes},
		},
		Delay:      max(cfg.delay, time.Millisecond),
		BatchBytes: func() int64 { return out.limit },
		Away:       transient,
		Close:      close,
	})
	queue := b.sender.Queue()
	out.deliver = deliverer{ledger: l, draining: b.sender.Draining()}
	out.limit, out.settle = queue.Batch().Bytes, queue.Settle
	b.sender.Start()
	return b
}

// until returns the deadline of an export with this timeout; zero is no limit.
func until(timeout time.Duration) time.Time {
	if timeout <= 0 {
		return time.Time{}
	}
	return time.Now().Add(timeout)
}

func (b *batcher[T]) sizeOf(batch []T) (n int64) {
	for i := range batch {
		n += b.size(batch[i])
	}
	return n
}

// add queues one item, or drops and counts it.
func (b *batcher[T]) add(item T) { b.sender.Push(item, b.size(item)) }

// forceFlush exports the items that are queued now. Its error has the number of items lost since the call.
func (b *batcher[T]) forceFlush(ctx context.Context) error { return b.sender.Flush(ctx) }

// shutdown drains until ctx ends, drops and counts the rest, and closes the exporter. Its error reports the lost items.
func (b *batcher[T]) shutdown(ctx context.Context) error { return b.sender.Shutdown(ctx) }
