package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
)

// ErrExited is the failure of a consumer that ended its goroutine with runtime.Goexit.
var ErrExited = errors.New("the consumer ended its goroutine (runtime.Goexit)")

// PanicError is the failure of a consumer that panicked.
type PanicError struct{ Value any }

// Error implements error.
func (e *PanicError) Error() string { return fmt.Sprintf("the consumer panicked: %v", e.Value) }

// broken returns the failure of a consumer that did not return. v is the result of recover.
func broken(v any) error {
	if v == nil {
		return ErrExited
	}
	return &PanicError{v}
}

// Worker hands the items of a queue to a consumer one at a time, in order. Its goroutine runs only while there are items, so a forgotten
// Worker leaks nothing. If the consumer panics or ends the goroutine, its item fails and the next item follows. Worker is safe for
// concurrent use.
type Worker[T any] struct {
	queue   *Queue[T]
	consume func(T) error
	running atomic.Bool
}

// NewWorker returns a worker with an empty queue. A limit below 1 means the default of QueueOptions.
func NewWorker[T any](l *Ledger, consume func(T) error, limits Limits) *Worker[T] {
	queue := NewQueue[T](l, &QueueOptions{Limits: limits, Batch: Limits{Items: 1}})
	queue.ready = nil // a push starts the goroutine itself
	return &Worker[T]{queue: queue, consume: consume}
}

// Push queues an item that holds size bytes. It returns Accepted, or the reason for which the item was dropped. It never blocks.
func (w *Worker[T]) Push(item T, size int64) Reason {
	reason := w.queue.Push(item, size)
	// The load comes first because a failed swap would still contend for the cache line.
	if reason == Accepted && !w.running.Load() && w.running.CompareAndSwap(false, true) {
		go w.run()
	}
	return reason
}

// Flush is Queue.Flush.
func (w *Worker[T]) Flush(ctx context.Context) (left int64) { return w.queue.Flush(ctx) }

// Shutdown refuses later pushes, and hands over the waiting items until ctx ends. It returns how many items it dropped, and whether the
// consumer still has one. That item stays in flight until the consumer returns.
func (w *Worker[T]) Shutdown(ctx context.Context) (dropped int64, busy bool) {
	w.queue.Close()
	if w.queue.Flush(ctx) == 0 {
		return 0, false
	}
	dropped, inFlight := w.queue.Abandon(OutOfTime(ctx))
	return dropped, inFlight > 0
}

// run hands over items until none wait. If the consumer ends the goroutine, another one continues.
func (w *Worker[T]) run() {
	finished := false
	defer func() {
		if !finished {
			w.queue.settleRest(ErrExited)
			go w.run()
		}
	}()
	var err error
	for one := make([]T, 0, 1); ; {
		if one = w.queue.next(one, err); len(one) > 0 {
			err = w.deliver(one[0])
			continue
		}
		if finished = w.rest(); finished {
			return
		}
	}
}

// rest ends the turn of the goroutine. It returns false if the goroutine must continue: an item pushed between the last Take and rest has
// not started another one.
func (w *Worker[T]) rest() bool {
	w.running.Store(false)
	return w.queue.Len() == 0 || !w.running.CompareAndSwap(false, true)
}

// deliver hands over one item. It turns a panic into an error.
func (w *Worker[T]) deliver(item T) (err error) {
	returned := false
	defer func() {
		if !returned {
			err = broken(recover())
		}
	}()
	err = w.consume(item)
	returned = true
	return err
}
