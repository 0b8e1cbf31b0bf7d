package delivery

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// Reason is why an item was dropped before it reached the consumer.
type Reason string

// The reasons of a [Queue].
const (
	Accepted    Reason = ""            // not dropped
	QueueFull   Reason = "queue_full"  // the maximum number of items wait
	QueueBytes  Reason = "queue_bytes" // with this item, those that wait or are in flight would exceed the bytes
	QueueClosed Reason = "closed"      // pushed after Close
	Abandoned   Reason = "shutdown"    // still waiting when Shutdown ran out of time
)

// Counts are the numbers of a [Ledger]. In each copy, Emitted = Delivered + Dropped() + Queued().
type Counts struct {
	Emitted   int64 // items that the ledger knows of
	Waiting   int64 // in the queue
	InFlight  int64 // with the consumer
	Delivered int64 // taken by the consumer
	Refused   int64 // dropped before the consumer got them
	Failed    int64 // dropped by the consumer
}

// Queued returns the number of items that are neither delivered nor dropped yet.
func (c Counts) Queued() int64 { return c.Waiting + c.InFlight }

// Dropped returns the number of items that are lost.
func (c Counts) Dropped() int64 { return c.Refused + c.Failed }

// Attempts describes the state of the consumer.
type Attempts struct {
	LastSuccess  time.Time // zero before the first
	Failures     int       // since LastSuccess
	FailingSince time.Time // zero while the consumer works
	LastErr      error     // of the last failed attempt, kept after a success
	LastErrAt    time.Time
	LateErr      error // why Shutdown ran out of time for the rest; nil if it did not
}

// Account is a copy of a [Ledger].
type Account struct {
	Counts
	Attempts

	RefusedBy map[Reason]int64 // Refused by reason
	FailedBy  map[string]int64 // Failed by LedgerOptions.Classify
}

// LedgerOptions of a Ledger. Nil and the zero value work.
type LedgerOptions struct {
	// Subject names the items and the consumer in errors: "spans to the collector". Default: "items".
	Subject string
	// Classify returns the reason of a failure, for Account.FailedBy. It must return few different values. Default: always "error".
	Classify func(error) string
	// Notify is called without a lock after items were dropped or an attempt failed. It must not block. Default: none.
	Notify func()
}

// Ledger is the account of one consumer. Each method moves items from one count to another; only new items add to the sum. It is safe for
// concurrent use.
type Ledger struct {
	opts LedgerOptions

	mu        sync.Mutex // also guards the queue of the ledger, so that both change together
	account   Account
	queueFull int64 // RefusedBy[QueueFull]; not in the map, since an overloaded queue counts every push
}

// NewLedger returns an empty ledger.
func NewLedger(opts *LedgerOptions) *Ledger {
	l := &Ledger{account: Account{RefusedBy: make(map[Reason]int64), FailedBy: make(map[string]int64)}}
	if opts != nil {
		l.opts = *opts
	}
	if l.opts.Subject == "" {
		l.opts.Subject = "items"
	}
	if l.opts.Classify == nil {
		l.opts.Classify = func(error) string { return "error" }
	}
	if l.opts.Notify == nil {
		l.opts.Notify = func() {}
	}
	return l
}

// Read returns a copy of the account.
func (l *Ledger) Read() Account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account
	a.RefusedBy, a.FailedBy = maps.Clone(a.RefusedBy), maps.Clone(a.FailedBy)
	if l.queueFull > 0 {
		a.RefusedBy[QueueFull] = l.queueFull
	}
	return a
}

// Counts returns the numbers of the account. It does not allocate.
func (l *Ledger) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.account.Counts
}

// Begin records n new items that go to the consumer at once, without a queue. The caller must settle them.
func (l *Ledger) Begin(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.account.Emitted += n
	l.account.InFlight += n
}

// Refuse records n new items that are dropped before the consumer gets them.
func (l *Ledger) Refuse(n int64, reason Reason) {
	l.mu.Lock()
	l.account.Emitted += n
	l.refuse(n, reason)
	l.mu.Unlock()
	l.opts.Notify()
}

// Settle records the end of n items in flight. lost of them were dropped because of err, and the rest were delivered. An err that wraps
// ErrOutOfTime becomes Attempts.LateErr. The items of a queue are settled by Queue.Settle.
func (l *Ledger) Settle(n, lost int64, err error) {
	l.mu.Lock()
	l.settle(n, lost, err)
	l.mu.Unlock()
	if lost > 0 {
		l.opts.Notify()
	}
}

// Answered records an attempt that the consumer answered. err describes the part that the consumer refused; nil means none.
func (l *Ledger) Answered(err error) {
	l.mu.Lock()
	a := &l.account.Attempts
	a.LastSuccess, a.Failures, a.FailingSince = time.Now(), 0, time.Time{}
	l.note(err)
	l.mu.Unlock()
	if err != nil {
		l.opts.Notify()
	}
}

// Failed records an attempt that failed. A later attempt may still deliver the items.
func (l *Ledger) Failed(err error) {
	l.mu.Lock()
	a := &l.account.Attempts
	a.Failures++
	if a.FailingSince.IsZero() {
		a.FailingSince = time.Now()
	}
	l.note(err)
	l.mu.Unlock()
	l.opts.Notify()
}

// Mark is a point in the life of a ledger.
type Mark struct {
	dropped int64
	at      time.Time
}

// Mark returns the current point, for LossSince.
func (l *Ledger) Mark() Mark { return Mark{l.Counts().Dropped(), time.Now()} }

// LossSince returns nil if nothing was dropped since m. Otherwise the error has the number of dropped items and wraps the reason: a failure
// that persists or happened since then, or else LateErr.
func (l *Ledger) LossSince(m Mark) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := l.account.Dropped() - m.dropped
	if lost == 0 {
		return nil
	}
	err := fmt.Errorf("%d %s are lost", lost, l.opts.Subject)
	a := l.account.Attempts
	switch {
	case a.LastErr != nil && (a.Failures > 0 || !a.LastErrAt.Before(m.at)):
		return fmt.Errorf("%w: %w", err, a.LastErr)
	case a.LateErr != nil:
		return fmt.Errorf("%w: %w", err, a.LateErr)
	}
	return err
}

// The methods below are called with the lock held.

func (l *Ledger) refuse(n int64, reason Reason) {
	l.account.Refused += n
	if reason == QueueFull {
		l.queueFull += n
		return
	}
	l.account.RefusedBy[reason] += n
}

func (l *Ledger) settle(n, lost int64, err error) {
	a := &l.account
	a.InFlight -= n
	a.Delivered += n - lost
	if lost > 0 {
		a.Failed += lost
		a.FailedBy[l.opts.Classify(err)] += lost
	}
	if errors.Is(err, ErrOutOfTime) {
		l.late(err)
	}
}

// late keeps the first reason for which Shutdown ran out of time.
func (l *Ledger) late(err error) {
	if l.account.LateErr == nil {
		l.account.LateErr = err
	}
}

func (l *Ledger) note(err error) {
	if err != nil {
		l.account.LastErr, l.account.LastErrAt = err, time.Now()
	}
}
