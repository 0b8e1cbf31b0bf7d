package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// DefaultDelay is the default of SenderOptions.Delay.
const DefaultDelay = time.Second

// CloseTime bounds SenderOptions.Close, when nothing is left to send.
const CloseTime = time.Second

// SenderOptions of a Sender. Nil and the zero value work.
type SenderOptions struct {
	// Queue holds the limits of the queue and of a batch.
	Queue QueueOptions
	// Delay is the longest wait for a full batch. A value below 1 means the default: 1 s.
	Delay time.Duration
	// Retry repeats a batch that fails, and records each attempt in the ledger. If Retry is nil, send is called once for each batch and
	// records its own attempts.
	Retry *Retry
	// Timeout limits how long Retry repeats one batch. A value below 1 means no limit.
	Timeout time.Duration
	// BatchBytes lowers the limit of the next batch, for a send that learns how much its peer accepts. Default: Queue.Batch.Bytes.
	BatchBytes func() int64
	// Away reports whether the failure of a batch means that the peer accepts nothing at present. Shutdown then drops the items that still
	// wait. Default: any failure means that.
	Away func(error) bool
	// Close is called once, after the last batch, within CloseTime. Default: none.
	Close func(context.Context) error
}

// Sender collects items in a queue and sends them in batches from one goroutine. It is safe for concurrent use.
type Sender[T any] struct {
	ledger   *Ledger
	queue    *Queue[T]
	send     func(context.Context, []T) error
	opts     SenderOptions
	draining chan struct{} // closed by Shutdown
	done     chan struct{} // closed when the goroutine has ended
	start    func()
	cancel   context.CancelCauseFunc // of the goroutine's context
	stop     sync.Once
	result   func() error // of Shutdown; called after done
	closeErr error        // read after done
}

// NewSender returns a sender that Start starts. send must not keep its batch, which is reused. The sender settles the items that send has
// not settled: as delivered if send returns nil, and as lost otherwise, after a panic too.
func NewSender[T any](l *Ledger, send func(ctx context.Context, batch []T) error, opts *SenderOptions) *Sender[T] {
	if opts == nil {
		opts = &SenderOptions{}
	}
	s := &Sender[T]{ledger: l, send: send, opts: *opts, draining: make(chan struct{}), done: make(chan struct{})}
	s.queue = NewQueue[T](l, &opts.Queue)
	s.opts.Delay = or(opts.Delay, DefaultDelay)
	if opts.BatchBytes == nil {
		s.opts.BatchBytes = func() int64 { return s.queue.batch.Bytes }
	}
	if opts.Away == nil {
		s.opts.Away = func(error) bool { return true }
	}
	if opts.Retry != nil {
		retry := *opts.Retry
		retry.Draining = s.draining
		s.opts.Retry, s.send = &retry, s.retrying(&retry, send)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	s.cancel = cancel
	s.start = sync.OnceFunc(func() { go s.run(ctx) })
	return s
}

// retrying returns send with retries.
func (s *Sender[T]) retrying(retry *Retry, send func(context.Context, []T) error) func(context.Context, []T) error {
	return func(ctx context.Context, batch []T) error {
		var deadline time.Time
		if s.opts.Timeout > 0 {
			deadline = time.Now().Add(s.opts.Timeout)
		}
		return retry.Do(ctx, deadline, func(attempt context.Context) error {
			err := send(attempt, batch)
			switch {
			case err == nil:
				s.ledger.Answered(nil)
			case !retry.interrupted(ctx, err):
				s.ledger.Failed(err)
			}
			return err
		})
	}
}

// Start starts the goroutine. It does nothing if the sender was started or shut down before.
func (s *Sender[T]) Start() { s.start() }

// Queue returns the queue of the sender, for Settle and Limits.
func (s *Sender[T]) Queue() *Queue[T] { return s.queue }

// Draining returns a channel that is closed when Shutdown begins.
func (s *Sender[T]) Draining() <-chan struct{} { return s.draining }

// Push queues an item that holds size bytes. It returns Accepted, or the reason for which the item was dropped. It never blocks.
func (s *Sender[T]) Push(item T, size int64) Reason { return s.queue.Push(item, size) }

// PushFunc is Queue.PushFunc.
func (s *Sender[T]) PushFunc(size int64, build func() T) Reason { return s.queue.PushFunc(size, build) }

// Flush sends the items that are queued now. It returns an error with the number of items lost since the call, or the error of ctx if that
// ends first.
func (s *Sender[T]) Flush(ctx context.Context) error {
	mark := s.ledger.Mark()
	if left := s.queue.Flush(ctx); left > 0 {
		return fmt.Errorf("%s are not flushed: %w", s.ledger.opts.Subject, context.Cause(ctx))
	}
	return s.ledger.LossSince(mark)
}

// Shutdown sends the waiting items until ctx ends, drops and counts the rest, and closes the consumer. Its error has the number of lost
// items and wraps the error of SenderOptions.Close.
//
// The context of the first call limits the draining. The context of a later call limits how long it waits for the first. Either call
// returns at most Grace after its context ends, even if send does not return. The items of send are then in flight until it returns.
func (s *Sender[T]) Shutdown(ctx context.Context) error {
	s.stop.Do(func() { s.drainUntil(ctx) })
	if !Await(ctx, s.done, Grace) {
		return fmt.Errorf("%s are not drained: %w", s.ledger.opts.Subject, context.Cause(ctx))
	}
	return s.result()
}

// drainUntil makes the goroutine drain, and interrupts it when ctx ends.
func (s *Sender[T]) drainUntil(ctx context.Context) {
	mark := s.ledger.Mark()
	s.queue.Close()
	interrupt := func() { s.cancel(context.Cause(ctx)) }
	if ctx.Err() != nil { // AfterFunc would let one more batch through
		interrupt()
	}
	stop := context.AfterFunc(ctx, interrupt)
	s.result = sync.OnceValue(func() error {
		stop()
		s.cancel(nil)
		return errors.Join(s.ledger.LossSince(mark), s.closeErr)
	})
	close(s.draining)
	s.start()
}

// run sends until Shutdown. If send ends the goroutine, another one continues.
func (s *Sender[T]) run(ctx context.Context) {
	finished := false
	defer func() {
		if !finished {
			go s.run(ctx)
		}
	}()
	batch := make([]T, 0, s.queue.batch.Items)
	tick := time.NewTicker(max(s.opts.Delay, time.Millisecond))
	defer tick.Stop()
	for {
		full := true
		select {
		case <-s.queue.Ready():
		case <-tick.C:
			full = false
		case <-s.draining:
		}
		if closed(s.draining) { // before anything else that is due
			break
		}
		batch = s.sendAll(ctx, batch, full)
	}
	s.drain(ctx, batch)
	s.closeConsumer()
	finished = true
	close(s.done)
}

// sendAll sends the batches that are due. If full is set, these are the full batches.
func (s *Sender[T]) sendAll(ctx context.Context, batch []T, full bool) []T {
	for {
		if batch = s.queue.take(batch, s.opts.BatchBytes(), full); len(batch) == 0 {
			return batch
		}
		if err := s.deliver(ctx, batch); err != nil && closed(s.draining) {
			return batch
		}
	}
}

// drain sends the remaining items. Once the peer is away or the time is up, it drops the rest: nobody would take it.
func (s *Sender[T]) drain(ctx context.Context, batch []T) {
	for ctx.Err() == nil {
		if batch = s.queue.Take(batch, s.opts.BatchBytes()); len(batch) == 0 {
			break
		}
		if err := s.deliver(ctx, batch); err != nil && s.opts.Away(err) {
			break
		}
	}
	clear(batch[:cap(batch)])
	var late error
	if ctx.Err() != nil {
		late = OutOfTime(ctx)
	}
	s.queue.Abandon(late)
}

// deliver sends one batch and settles the items that send has not settled.
func (s *Sender[T]) deliver(ctx context.Context, batch []T) (err error) {
	returned := false
	defer func() {
		if !returned {
			err = broken(recover())
			s.ledger.Failed(err)
		}
		s.queue.settleRest(err)
	}()
	err = s.send(ctx, batch)
	returned = true
	return err
}

func (s *Sender[T]) closeConsumer() {
	if s.opts.Close == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), CloseTime)
	defer cancel()
	s.closeErr = s.opts.Close(ctx)
}
