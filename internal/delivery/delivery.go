// Package delivery carries items from code that must not wait to a consumer that may be slow, broken or away: an exporter, a log sink,
// a broker, a controller. What it cannot deliver it drops and counts.
//
//	ledger := delivery.NewLedger(&delivery.LedgerOptions{Subject: "events to the broker"})
//	sender := delivery.NewSender(ledger, publish, &delivery.SenderOptions{Retry: &delivery.Retry{}})
//	sender.Start()
//	sender.Push(event, size)        // never blocks
//	err := sender.Shutdown(ctx)     // drains, and returns what was lost
//
// A [Ledger] is the account. Its sum holds at any time:
//
//	emitted = delivered + dropped + waiting + in flight
//
// A [Queue] is bounded in items and in bytes, and moves together with its ledger. It drops the newest items when it is full: the oldest
// show how the trouble began. A [Retry] repeats an attempt with backoff and obeys the waits that the peer asks for. Two loops empty a
// queue: a [Sender] sends batches, and a [Worker] hands over one item at a time and has a goroutine only while there are items.
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

// OutOfTime returns ErrOutOfTime with the cause for which ctx has ended.
func OutOfTime(ctx context.Context) error {
	return fmt.Errorf("%w: %w", ErrOutOfTime, context.Cause(ctx))
}

// Grace is how long work may take to stop after its context has ended, and to account for what it did not do. Code that waits for such
// work waits for Grace longer, so that it gets the errors.
const Grace = 200 * time.Millisecond

// Await waits for done, but no longer than grace after ctx has ended. It reports whether done came.
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
