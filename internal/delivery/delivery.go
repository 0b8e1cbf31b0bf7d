// Package delivery passes items from code that must not block to a consumer that may be slow, broken or unreachable: an exporter, a log
// sink, a broker, a controller. It drops and counts the items that it cannot deliver.
//
//	ledger := delivery.NewLedger(&delivery.LedgerOptions{Subject: "events to the broker"})
//	sender := delivery.NewSender(ledger, publish, &delivery.SenderOptions{Retry: &delivery.Retry{}})
//	sender.Start()
//	sender.Push(event, size)        // never blocks
//	err := sender.Shutdown(ctx)     // drains, and returns what was lost
//
// A [Ledger] counts the items. This sum holds at any time:
//
//	emitted = delivered + dropped + waiting + in flight
//
// A [Queue] is bounded in items and in bytes, and changes together with its ledger. When it is full it drops the newest items, because the
// oldest show how the trouble began. A [Retry] repeats an attempt with backoff and respects the wait that the peer asks for. Two types
// empty a queue. A [Sender] sends batches. A [Worker] hands over one item at a time, and has a goroutine only while there are items.
//
// The package imports neither the OpenTelemetry SDK nor net/http.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrOutOfTime is the reason for items that Shutdown had no time to deliver.
var ErrOutOfTime = errors.New("Shutdown ran out of time")

// OutOfTime returns ErrOutOfTime with the cause of ctx, which has ended.
func OutOfTime(ctx context.Context) error {
	return fmt.Errorf("%w: %w", ErrOutOfTime, context.Cause(ctx))
}

// Grace is how long work may take, after its context has ended, to stop and to account for what it did not do. Code that waits for such
// work waits Grace longer than the context, so that it receives the errors.
const Grace = 200 * time.Millisecond

// Await waits for done, but no longer than grace after ctx ends. It reports whether done was closed in time.
func Await(ctx context.Context, done <-chan struct{}, grace time.Duration) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
